use std::sync::Arc;

use crate::{Policy, Service, Snapshot, SnapshotBuilder, Workload};

/// Everything one source says about the mesh.
#[derive(Debug, Clone, Default)]
pub struct MeshState {
    /// The workloads.
    pub workloads: Vec<Arc<Workload>>,
    /// The services.
    pub services: Vec<Arc<Service>>,
    /// The policies.
    pub policies: Vec<Arc<Policy>>,
}

/// What leads from one state to another.
#[derive(Debug, Clone, Default)]
pub struct MeshChanges {
    /// The uids of workloads that are gone. One that is among the next, too, was replaced.
    pub gone: Vec<Arc<str>>,
    /// Workloads that came, or are not what they were.
    pub workloads: Vec<Arc<Workload>>,
    /// All services, if any of them changed.
    pub services: Option<Vec<Arc<Service>>>,
    /// All policies, if any of them changed.
    pub policies: Option<Vec<Arc<Policy>>>,
}

impl MeshState {
    /// Indexes it.
    #[must_use]
    pub fn into_snapshot(self, version: u64) -> Snapshot {
        let mut builder = SnapshotBuilder::default();
        for workload in self.workloads {
            builder.add_workload(workload);
        }
        for service in self.services {
            builder.add_service(service);
        }
        for policy in self.policies {
            builder.add_policy(policy);
        }
        builder.build(version)
    }
}
