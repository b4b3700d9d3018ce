use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// Where the calendar time comes from by which certificates are judged.
///
/// Timers run on the monotonic clock; validity is a matter of the calendar, which can be stepped.
pub trait WallClock: Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> SystemTime;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemWallClock;

impl WallClock for SystemWallClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Lets the TLS library judge peers by the same clock as this crate judges its own certificates.
#[derive(Debug)]
pub(crate) struct TlsClock(pub(crate) Arc<dyn WallClock>);

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix(self.0.now()))
    }
}

/// A time before 1970 counts as 1970: every certificate is then "not valid yet".
pub(crate) fn unix(at: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// The reverse, for the seconds since 1970 that certificates carry.
pub(crate) fn system_time(seconds: i64) -> SystemTime {
    match u64::try_from(seconds) {
        Ok(after) => UNIX_EPOCH
            .checked_add(Duration::from_secs(after))
            .unwrap_or(UNIX_EPOCH),
        Err(_) => UNIX_EPOCH,
    }
}
