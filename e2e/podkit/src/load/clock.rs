//! Times of the kernel's monotonic clock, which whoever started us reads too.

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};
use std::ops::Add;
use std::time::Duration;

/// A moment, as time since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(Duration);

impl Moment {
    /// Now.
    pub(super) fn now() -> Result<Self> {
        Ok(Self(Duration::from(clock_gettime(
            ClockId::CLOCK_MONOTONIC,
        )?)))
    }

    /// How long ago an earlier moment was; zero for a later one.
    pub(super) fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// In milliseconds, for the report.
    pub(super) fn millis(self) -> f64 {
        millis(self.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, later: Duration) -> Self {
        Self(self.0 + later)
    }
}

/// To a thousandth of a millisecond: what follows is noise.
pub(super) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
