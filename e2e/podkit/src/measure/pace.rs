//! When the next one is due: at a rate whatever the answers do, or as soon as there is somebody free.

use anyhow::{Result, ensure};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long what was due in time may be begun afterwards; what is later than that counts as not begun.
const GRACE: Duration = Duration::from_secs(2);

/// One clock for all threads of a measurement: whoever is free takes the next one.
pub(super) struct Pace {
    began: Instant,
    lasting: Duration,
    rate: Option<u32>,
    taken: AtomicU64,
}

impl Pace {
    /// A clock that begins at a moment, which may be in the future.
    pub(super) fn new(began: Instant, lasting: Duration, rate: Option<u32>) -> Self {
        Self {
            began,
            lasting,
            rate,
            taken: AtomicU64::new(0),
        }
    }

    /// The moment it begins.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// When the next one is due, for somebody who is free now; none when the time is over.
    pub(super) fn next(&self, now: Instant) -> Option<Instant> {
        let over = self.began + self.lasting;
        let Some(rate) = self.rate else {
            return (now < over).then_some(now);
        };
        if now >= over + GRACE {
            return None;
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        let due = self.began + Duration::from_nanos(number * 1_000_000_000 / u64::from(rate));
        (due < over).then_some(due)
    }

    /// An error if fewer were begun than were due: their times would be those of the lucky ones.
    pub(super) fn judge(&self, begun: u64) -> Result<()> {
        if let Some(rate) = self.rate {
            let due = u64::from(rate) * self.lasting.as_secs();
            ensure!(
                begun >= due,
                "only {begun} of {due} were begun: {rate} a second is more than there are answers; lower --rate",
            );
        }
        Ok(())
    }
}
