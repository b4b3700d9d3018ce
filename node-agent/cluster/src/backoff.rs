//! How long to wait after a failure.

use std::time::Duration;

/// Remembers failures in a row. Waits grow, and no two agents wait equally long: after an outage
/// they would all come back at once.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Something failed; `random` is any number.
    pub(crate) fn failed(&mut self, random: u32) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(10)).min(MOST);
        self.failures = self.failures.saturating_add(1);
        longest / 2 + (longest / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Something worked.
    pub(crate) fn worked(&mut self) {
        self.failures = 0;
    }
}

/// Any number; if the kernel has none to give, waits are merely alike.
pub(crate) fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}

const FIRST: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_differ_and_end() {
        let mut backoff = Backoff::default();
        let mut wait = |random| backoff.failed(random).as_millis();
        let shortest: Vec<u128> = (0..8).map(|_| wait(0)).collect();
        assert_eq!(shortest, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
        assert_eq!(wait(u32::MAX), 30_000);
        assert!((15_000..30_000).contains(&wait(u32::MAX / 2)));
        assert_eq!(backoff.failures(), 10);
        backoff.worked();
        assert_eq!(backoff.failed(u32::MAX).as_millis(), 500);
    }
}
