use std::sync::Arc;

use super::Snapshot;
use super::index::Index;
use super::policies::Policies;
use super::services::Services;
use crate::{Policy, Service, Workload};

/// Collects what a snapshot is made of. What is added later replaces what has the same uid or key.
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    workloads: Index,
    services: Vec<Arc<Service>>,
    policies: Vec<Arc<Policy>>,
}

impl SnapshotBuilder {
    /// Adds a workload.
    pub fn add_workload(&mut self, workload: impl Into<Arc<Workload>>) -> &mut Self {
        self.workloads.set(&workload.into());
        self
    }

    /// Adds a service.
    pub fn add_service(&mut self, service: impl Into<Arc<Service>>) -> &mut Self {
        self.services.push(service.into());
        self
    }

    /// Adds a policy.
    pub fn add_policy(&mut self, policy: impl Into<Arc<Policy>>) -> &mut Self {
        self.policies.push(policy.into());
        self
    }

    /// Indexes what was added.
    #[must_use]
    pub fn build(self, version: u64) -> Snapshot {
        Snapshot {
            version,
            told: true,
            mesh: Arc::new(self.index()),
            local: Arc::default(),
        }
    }

    pub(super) fn index(self) -> Index {
        let mut index = self.workloads;
        index.services = Arc::new(Services::new(self.services));
        index.policies = Arc::new(Policies::new(self.policies));
        index
    }
}
