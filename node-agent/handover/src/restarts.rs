//! When a worker that died is started again.

use std::time::{Duration, Instant};

/// What to do about a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// Start the next one then.
    pub at: Instant,
    /// Deaths in a row, this one included, of which none served long enough to count as healthy.
    pub in_a_row: u32,
}

/// Remembers deaths: the first is answered at once, further ones with growing pauses, so that a
/// worker that cannot live does not take the node's processors with it.
#[derive(Debug, Default)]
pub struct Restarts {
    in_a_row: u32,
}

impl Restarts {
    /// A worker that was started at `started` died at `now`.
    pub fn died(&mut self, started: Instant, now: Instant) -> Restart {
        if now.saturating_duration_since(started) >= HEALTHY {
            self.in_a_row = 0;
        }
        self.in_a_row += 1;
        // 0, 0, 0.1 s, 0.2 s, ... : the second death may be bad luck, too.
        let pause = match self.in_a_row {
            0..=2 => Duration::ZERO,
            n => (PAUSE * 2_u32.saturating_pow(n - 3)).min(PAUSE_MOST),
        };
        Restart {
            at: now + pause,
            in_a_row: self.in_a_row,
        }
    }
}

/// A worker that lived this long was healthy: it is up within milliseconds, so one that cannot live
/// dies much sooner.
const HEALTHY: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MOST: Duration = Duration::from_secs(5);
