//! How long each took, and what that is in figures.

use super::crew::sleep_until;
use super::pace::Pace;
use crate::result::Tally;
use anyhow::Result;
use std::time::{Duration, Instant};

/// What one thread, or all of them, saw.
#[derive(Debug, Default)]
pub(super) struct Times {
    /// From when each was due to its whole answer.
    waits: Vec<Duration>,
    /// From when each was due to when it was begun: waiting for somebody free, and our own delay.
    late: Vec<Duration>,
    ended: Option<Instant>,
}

impl Times {
    /// Attempts at a pace until its time is over; an attempt tells when its answer was whole. The first error ends it.
    pub(super) fn of(pace: &Pace, mut attempt: impl FnMut() -> Result<Instant>) -> Result<Self> {
        let mut times = Self::default();
        sleep_until(pace.began());
        while let Some(due) = pace.next(Instant::now()) {
            sleep_until(due);
            let begun = Instant::now();
            let answered = attempt()?;
            times.waits.push(answered.saturating_duration_since(due));
            times.late.push(begun.saturating_duration_since(due));
            times.ended = Some(Instant::now());
        }
        Ok(times)
    }

    /// Adds another thread's.
    pub(super) fn merge(&mut self, other: Self) {
        self.waits.extend(other.waits);
        self.late.extend(other.late);
        self.ended = self.ended.max(other.ended);
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.waits.len() as u64
    }

    /// The figures.
    pub(super) fn note(mut self, began: Instant, tally: &mut Tally) {
        self.waits.sort_unstable();
        self.late.sort_unstable();
        let seconds = self
            .ended
            .map(|ended| ended.saturating_duration_since(began).as_secs_f64());
        tally.note("seconds", seconds);
        tally.note("per_s", seconds.map(|all| per_second(self.count(), all)));
        for (name, per_mille) in [("p50_us", 500), ("p99_us", 990), ("p999_us", 999)] {
            tally.note(name, percentile(&self.waits, per_mille).map(micros));
        }
        tally.note("late_p99_us", percentile(&self.late, 990).map(micros));
    }
}

/// So many in that time, for each second.
#[expect(
    clippy::cast_precision_loss,
    reason = "nobody counts as far as 2 to the 53rd"
)]
pub(super) fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// The smallest of the sorted times that so many thousandths of them do not exceed.
pub(super) fn percentile(sorted: &[Duration], per_mille: usize) -> Option<Duration> {
    let rank = (sorted.len() * per_mille).div_ceil(1000).max(1) - 1;
    sorted.get(rank).copied()
}

/// To a tenth of a microsecond: what follows is noise.
fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}
