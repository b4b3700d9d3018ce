//! When to try again, as arithmetic: the time that passed and the dice are arguments.

use std::time::Duration;

/// The pause after the first failure.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause, and how long something must have lasted to count as having worked.
const LONGEST: Duration = Duration::from_secs(15);

/// A throw of the dice, 0 to 1000 inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dice(u32);

impl Dice {
    /// Of any number.
    #[must_use]
    pub fn from_random(random: u32) -> Self {
        Self(random % 1001)
    }

    /// Thrown now. Without a source of randomness, the middle: spreading is a courtesy.
    #[must_use]
    pub fn throw() -> Self {
        Self::from_random(getrandom::u32().unwrap_or(500))
    }
}

/// The pauses between connections to one server.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts the end of a connection that served for `served`, and says how long to wait: up to
    /// 250 ms, 500 ms, 1 s … 15 s, of which the dice take off up to half, so that the nodes of a
    /// cluster do not return to a server that comes back at one moment.
    ///
    /// A connection that served for 15 s ends a series of failures; a shorter one does not, because
    /// a server that answers and dies at once must not be asked four times a second.
    pub fn after(&mut self, served: Duration, dice: Dice) -> Duration {
        if served >= LONGEST {
            self.failures = 0;
        }
        let longest = FIRST
            .saturating_mul(2_u32.saturating_pow(self.failures))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        longest.saturating_sub(longest / 2 * dice.0 / 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Dice = Dice(0);
    const EARLY: Dice = Dice(1000);

    #[test]
    fn pauses_double_to_fifteen_seconds() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..8)
            .map(|_| backoff.after(Duration::ZERO, LATE).as_millis())
            .collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
    }

    #[test]
    fn the_dice_take_off_up_to_half() {
        let early = Backoff::default().after(Duration::ZERO, EARLY);
        assert_eq!(early, Duration::from_millis(125));
        for random in [0, 1, 1000, 1001, u32::MAX] {
            assert!(Dice::from_random(random).0 <= 1000);
        }
    }

    #[test]
    fn what_served_long_enough_starts_the_pauses_over() {
        let mut backoff = Backoff { failures: 1000 };
        assert_eq!(backoff.after(LONGEST / 2, LATE), LONGEST);
        assert_eq!(backoff.after(LONGEST, LATE), FIRST);
        assert_eq!(backoff.after(LONGEST / 2, LATE), 2 * FIRST);
    }
}
