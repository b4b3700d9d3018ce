//! When to ask next, as arithmetic: the time and the dice are arguments.

use std::time::{Duration, SystemTime};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(150);
/// Traffic is held as long as there is no certificate.
const LONGEST_WITHOUT: Duration = Duration::from_secs(15);
const SHORTEST_RENEWAL: Duration = Duration::from_secs(1);

/// A throw of the dice, 0 to 1000 inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jitter(u32);

impl Jitter {
    pub(crate) fn from_random(random: u32) -> Self {
        Self(random % 1001)
    }
}

/// When to ask for the successor of a certificate received at `now`: between 45 % and 50 % of the
/// life it has left. Never later than half, so that the second half is there for failures; never
/// all at one moment, so that pods started together do not ask together.
///
/// The life counts from its receipt: a certificate backdated against differing clocks has not
/// aged by that.
pub(crate) fn renew_at(
    not_before: SystemTime,
    not_after: SystemTime,
    now: SystemTime,
    jitter: Jitter,
) -> SystemTime {
    let start = not_before.max(now);
    let life = not_after.duration_since(start).unwrap_or(Duration::ZERO);
    let share = 450 + jitter.0 / 20;
    start + per_mille(life, share).max(SHORTEST_RENEWAL)
}

/// How long after other roots were published a certificate follows them: once to twice `pause`, so
/// that pods do not ask together; twice as long each time it came with others again, because the
/// authority and the file contradict each other then.
pub(crate) fn follow_after(pause: Duration, disagreed: u32, jitter: Jitter) -> Duration {
    let pause = pause.saturating_mul(2_u32.saturating_pow(disagreed.min(10)));
    pause + per_mille(pause, jitter.0)
}

/// The pauses between failed requests of one identity.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts a failure and says how long to wait: 1 s, 2 s, 4 s … each ±20 %, at most 150 s; at most 15 s while there
    /// is no certificate to go on with.
    pub(crate) fn after_failure(&mut self, in_hand: bool, jitter: Jitter) -> Duration {
        let longest = if in_hand {
            LONGEST_PAUSE
        } else {
            LONGEST_WITHOUT
        };
        let pause = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        let share = 800 + jitter.0 * 2 / 5;
        per_mille(pause.min(longest), share).min(longest)
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// `of` times `share` / 1000; dividing first keeps a life of centuries from overflowing.
fn per_mille(of: Duration, share: u32) -> Duration {
    let seconds = Duration::from_secs(of.as_secs() / 1000) * share;
    let rest = Duration::new(of.as_secs() % 1000, of.subsec_nanos()) * share / 1000;
    seconds + rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use std::time::UNIX_EPOCH;

    use super::*;

    const LEAST: Jitter = Jitter(0);
    const MOST: Jitter = Jitter(1000);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn dice_stay_in_range() {
        for random in [0, 1, 999, 1000, 1001, u32::MAX] {
            assert!(Jitter::from_random(random).0 <= 1000);
        }
    }

    #[test]
    fn renewal_lies_between_45_and_50_per_cent_of_the_life_left() {
        let day = 86_400;
        assert_eq!(renew_at(at(0), at(day), at(0), LEAST), at(day * 45 / 100));
        assert_eq!(renew_at(at(0), at(day), at(0), MOST), at(day / 2));
    }

    #[test]
    fn backdating_does_not_age_a_certificate() {
        // Received at 60, backdated by 60, ten seconds left: halfway is 65, not 35.
        assert_eq!(renew_at(at(0), at(70), at(60), MOST), at(65));
    }

    #[test]
    fn a_certificate_that_begins_in_the_future_counts_from_its_beginning() {
        assert_eq!(renew_at(at(30), at(130), at(0), MOST), at(80));
    }

    #[test]
    fn an_expired_or_very_short_certificate_does_not_make_a_busy_loop() {
        assert_eq!(renew_at(at(0), at(10), at(20), LEAST), at(21));
        assert_eq!(renew_at(at(0), at(1), at(0), LEAST), at(1));
    }

    #[test]
    fn new_roots_are_followed_after_once_to_twice_the_pause_and_contradictions_seldom() {
        let pause = Duration::from_secs(120);
        let seconds = |disagreed, jitter| follow_after(pause, disagreed, jitter).as_secs();
        assert_eq!((seconds(0, LEAST), seconds(0, MOST)), (120, 240));
        assert_eq!((seconds(1, LEAST), seconds(1, MOST)), (240, 480));
        assert_eq!(seconds(10, LEAST), 120 * 1024);
        assert_eq!(seconds(u32::MAX, LEAST), 120 * 1024);
    }

    #[test]
    fn a_life_of_centuries_does_not_overflow() {
        let life = 400 * 365 * 86_400;
        assert_eq!(renew_at(at(0), at(life), at(0), MOST), at(life / 2));
    }

    #[test]
    fn pauses_double_from_one_second_to_150_and_start_over() {
        let mut backoff = Backoff::default();
        let middle = Jitter(500);
        let pauses: Vec<u64> = (0..10)
            .map(|_| backoff.after_failure(true, middle).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 150, 150]);
        assert_eq!(
            backoff.after_failure(false, middle),
            Duration::from_secs(15)
        );
        backoff.reset();
        assert_eq!(backoff.after_failure(false, middle), Duration::from_secs(1));
    }

    #[test]
    fn pauses_are_spread_by_a_fifth_and_never_exceed_the_longest() {
        assert_eq!(
            Backoff::default().after_failure(true, LEAST),
            Duration::from_millis(800)
        );
        assert_eq!(
            Backoff::default().after_failure(true, MOST),
            Duration::from_millis(1200)
        );
        let mut backoff = Backoff { failures: 1000 };
        assert_eq!(backoff.after_failure(true, MOST), LONGEST_PAUSE);
        assert_eq!(backoff.after_failure(true, LEAST), Duration::from_secs(120));
    }
}
