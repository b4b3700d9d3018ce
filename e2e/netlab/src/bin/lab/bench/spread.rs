//! Numbers of several rounds as one: median, least and most, and ratios within rounds.

/// Several numbers as one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    /// The middle one, or between the two in the middle.
    pub(super) median: f64,
    /// The least.
    pub(super) least: f64,
    /// The most.
    pub(super) most: f64,
}

/// A number and the round it is of.
pub(super) type Round = (u32, f64);

/// None of no numbers; those that are no number do not count.
pub(super) fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.into_iter().filter(|one| one.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    Some(Spread {
        median,
        least,
        most,
    })
}

/// One divided by the other within each round that has both: what slows a whole round down is in neither.
pub(super) fn paired(ours: &[Round], base: &[Round]) -> Vec<f64> {
    let of = |round| base.iter().find(|(other, _)| *other == round);
    let ratios = ours
        .iter()
        .filter_map(|(round, value)| Some(value / of(*round)?.1));
    ratios.filter(|ratio| ratio.is_finite()).collect()
}

/// Three digits that count, and commas between thousands.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let digits = text.trim_start_matches('-').len();
    if decimals > 0 || digits <= 3 {
        return text;
    }
    let mut grouped = String::new();
    for (at, character) in text.chars().enumerate() {
        let left = text.len() - at;
        if at > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(character);
    }
    grouped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        let odd = spread([9.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.least, odd.most), (2.0, 1.0, 9.0));
        assert_eq!(spread([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(spread([7.0]).unwrap().median, 7.0);
        assert_eq!(spread([]), None);
        assert_eq!(spread([f64::NAN, 3.0]).unwrap().most, 3.0);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let ours = [(1, 5.0), (2, 30.0), (3, 8.0), (4, 1.0)];
        let base = [(3, 4.0), (1, 10.0), (2, 10.0), (4, 0.0)];
        assert_eq!(paired(&ours, &base), [0.5, 3.0, 2.0], "none of a zero");
        assert_eq!(paired(&ours, &base[..1]), [2.0], "none without the other");
    }

    #[test]
    fn numbers_have_three_digits_that_count() {
        let texts = [0.0123, 0.5, 1.234, 12.34, 123.4, 1234.5, 1_234_567.0].map(number);
        let wanted = [
            "0.012",
            "0.500",
            "1.23",
            "12.3",
            "123",
            "1,234",
            "1,234,567",
        ];
        assert_eq!(texts, wanted);
        assert_eq!(number(99.96), "100");
        assert_eq!(number(-1234.0), "-1,234");
        assert_eq!(number(-123.0), "-123");
    }
}
