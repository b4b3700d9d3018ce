//! How often the same is said of a pod, and how much is said at all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Lets events pass that are news, and not too many of them. What it lets pass is lost if nobody
/// hears it: events are for people.
#[derive(Debug)]
pub struct Quota {
    said: HashMap<(String, String), Instant>,
    /// Events that may still be sent at once.
    left: u32,
    /// When one more was given last.
    given: Instant,
}

impl Quota {
    /// Nothing was said yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            said: HashMap::new(),
            left: BURST,
            given: now,
        }
    }

    /// Whether `what` may be said of a pod now; if so, it counts as said.
    pub fn may_say(&mut self, pod: &str, what: &str, now: Instant) -> Verdict {
        let earned = now.saturating_duration_since(self.given).as_secs() / EVERY.as_secs();
        if earned > 0 {
            self.left = BURST.min(
                self.left
                    .saturating_add(u32::try_from(earned).unwrap_or(BURST)),
            );
            self.given = now;
        }
        let key = (pod.to_owned(), what.to_owned());
        let is_fresh = |at: &Instant| now.saturating_duration_since(*at) < AGAIN;
        if self.said.get(&key).is_some_and(is_fresh) {
            return Verdict::SaidAlready;
        }
        if self.left == 0 {
            return Verdict::TooMuch;
        }
        if self.said.len() >= REMEMBERED {
            self.said.retain(|_, at| is_fresh(at));
        }
        if self.said.len() >= REMEMBERED {
            return Verdict::TooMuch;
        }
        self.left -= 1;
        self.said.insert(key, now);
        Verdict::Say
    }
}

/// Whether something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Say,
    /// It was said a short while ago.
    SaidAlready,
    /// Too much was said of late.
    TooMuch,
}

/// The same is said again after this long.
const AGAIN: Duration = Duration::from_secs(600);
/// So many at once, after a quiet time.
const BURST: u32 = 25;
/// One more for each of these.
const EVERY: Duration = Duration::from_secs(6);
const REMEMBERED: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_and_not_too_much_at_all() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut quota = Quota::new(start);
        assert_eq!(quota.may_say("a", "x", at(0)), Verdict::Say);
        assert_eq!(quota.may_say("a", "x", at(1)), Verdict::SaidAlready);
        assert_eq!(quota.may_say("a", "y", at(1)), Verdict::Say);
        assert_eq!(quota.may_say("b", "x", at(1)), Verdict::Say);
        for number in 3..25 {
            assert_eq!(quota.may_say(&number.to_string(), "x", at(1)), Verdict::Say);
        }
        assert_eq!(quota.may_say("c", "x", at(2)), Verdict::TooMuch);
        assert_eq!(quota.may_say("c", "x", at(8)), Verdict::Say);
        assert_eq!(quota.may_say("d", "x", at(9)), Verdict::TooMuch);
        assert_eq!(quota.may_say("a", "x", at(601)), Verdict::Say);
    }

    #[test]
    fn memory_has_an_end() {
        let start = Instant::now();
        let mut quota = Quota::new(start);
        let mut now = start;
        let mut most = 0;
        for number in 0..3000 {
            now += Duration::from_millis(100);
            quota.left = BURST;
            quota.may_say(&number.to_string(), "x", now);
            most = most.max(quota.said.len());
        }
        assert_eq!(most, REMEMBERED);
    }
}
