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

impl MeshState {
    /// Indexes it.
    #[must_use]
    pub fn into_snapshot(self, version: u64) -> Snapshot {
        let mut builder = SnapshotBuilder::with_capacity(self.workloads.len());
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
