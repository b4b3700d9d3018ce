use std::sync::Arc;

use crate::{Service, Workload};

/// Who a connection is between, as far as the snapshot knew, for its log line and its metrics.
#[derive(Debug, Clone, Default)]
pub struct Parties {
    /// The workload that opened the connection.
    pub source: Option<Arc<Workload>>,
    /// The workload it goes to; for traffic through a waypoint, the waypoint's.
    pub destination: Option<Arc<Workload>>,
    /// The service it was addressed to.
    pub service: Option<Arc<Service>>,
}
