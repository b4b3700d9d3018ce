//! A linear axis from zero with round numbers on it.

/// How many steps an axis has at most.
const STEPS: f64 = 5.0;

/// An axis of some height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    /// The number at its end.
    pub(super) top: f64,
    step: f64,
    height: f64,
}

impl Scale {
    /// The smallest with room for a number.
    pub(super) fn fitting(most: f64, height: f64) -> Self {
        let most = if most.is_finite() && most > 0.0 {
            most
        } else {
            1.0
        };
        let step = round_up(most / STEPS);
        // A number that is a step's multiple up to rounding needs no step more.
        let top = step * (most / step - 1e-9).ceil();
        Self { top, step, height }
    }

    /// How far above zero a number is.
    pub(super) fn above(self, value: f64) -> f64 {
        value.clamp(0.0, self.top) / self.top * self.height
    }

    /// The numbers to be written, from zero on.
    pub(super) fn ticks(self) -> Vec<f64> {
        let last = self.top + self.step / 2.0;
        let numbers = (0..=10).map(|number| f64::from(number) * self.step);
        numbers.take_while(|tick| *tick < last).collect()
    }
}

/// The next of 1, 2, 5, 10, 20, 50, ... and their tenths.
fn round_up(value: f64) -> f64 {
    let magnitude = 10_f64.powf(value.log10().floor());
    let fits = |factor: &f64| factor * magnitude >= value * (1.0 - 1e-9);
    let factor = [1.0, 2.0, 5.0].into_iter().find(fits);
    factor.unwrap_or(10.0) * magnitude
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, reason = "tests")]
    use super::*;

    #[test]
    fn the_end_is_round_and_has_room() {
        for (most, top, ticks) in [
            (9.3, 10.0, 6),
            (10.0, 10.0, 6),
            (10.1, 15.0, 4),
            (1.0, 1.0, 6),
            (0.37, 0.4, 5),
            (41_234.0, 50_000.0, 6),
            (7.0, 8.0, 5),
        ] {
            let scale = Scale::fitting(most, 100.0);
            assert!((scale.top - top).abs() < 1e-9, "{most}: {scale:?}");
            assert_eq!(scale.ticks().len(), ticks, "{most}: {:?}", scale.ticks());
        }
    }

    #[test]
    fn heights_are_in_proportion_and_stay_inside() {
        let scale = Scale::fitting(8.0, 200.0);
        assert_eq!(scale.above(0.0), 0.0);
        assert_eq!(scale.above(4.0), 100.0);
        assert_eq!(scale.above(8.0), 200.0);
        assert_eq!(scale.above(80.0), 200.0);
    }

    #[test]
    fn nothing_to_show_has_an_axis_too() {
        for most in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Scale::fitting(most, 100.0).top, 1.0);
        }
    }
}
