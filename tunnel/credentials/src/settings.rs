use std::sync::Arc;
use std::time::Duration;

use crate::clock::{SystemWallClock, WallClock};

/// How certificates are asked for and kept.
#[derive(Debug, Clone)]
pub struct CredentialSettings {
    /// Life asked of the authority for each certificate. It may grant less.
    pub ttl: Duration,
    /// How long one request may take before it counts as failed.
    pub request_timeout: Duration,
    /// How many requests may be with the authority at once.
    pub max_in_flight: usize,
    /// How long a certificate nobody holds is kept, so that a workload that is replaced by
    /// another of the same identity does not cost a new request.
    pub linger: Duration,
    /// How far in our future a new certificate's first moment may lie, because the authority's
    /// clock and ours differ.
    pub clock_skew: Duration,
    /// How long other nodes are given to hear of new roots before our certificates follow them,
    /// each after once to twice this time.
    pub root_pause: Duration,
    /// The calendar.
    pub clock: Arc<dyn WallClock>,
}

impl Default for CredentialSettings {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(24 * 60 * 60),
            request_timeout: Duration::from_secs(10),
            max_in_flight: 8,
            linger: Duration::from_secs(60),
            clock_skew: Duration::from_secs(60),
            // The kubelet looks at what it has mounted every 60 to 90 s.
            root_pause: Duration::from_secs(120),
            clock: Arc::new(SystemWallClock),
        }
    }
}
