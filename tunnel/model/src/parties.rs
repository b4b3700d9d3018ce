//! Who a connection is between, for log and metrics.

use std::sync::Arc;

use crate::service::Service;
use crate::workload::Workload;

/// What is known of both ends of a connection.
#[derive(Clone, Debug, Default)]
pub struct Parties {
    /// The workload that opened it.
    pub source: Option<Arc<Workload>>,
    /// The workload that serves it.
    pub destination: Option<Arc<Workload>>,
    /// The service it was addressed to.
    pub service: Option<Arc<Service>>,
}
