use std::collections::HashMap;
use std::sync::Arc;

use super::Snapshot;
use super::index::Index;
use crate::{Policy, PolicyKey, Service, ServiceKey, Workload};

/// Collects what a snapshot is made of. What is added later replaces what has the same uid or key.
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    workloads: Vec<Arc<Workload>>,
    by_uid: HashMap<Arc<str>, u32>,
    services: Vec<Arc<Service>>,
    service_keys: HashMap<ServiceKey, usize>,
    policies: Vec<Arc<Policy>>,
    policy_keys: HashMap<PolicyKey, usize>,
}

impl SnapshotBuilder {
    /// A builder with room for so many workloads.
    #[must_use]
    pub fn with_capacity(workloads: usize) -> Self {
        Self {
            workloads: Vec::with_capacity(workloads),
            by_uid: HashMap::with_capacity(workloads),
            ..Self::default()
        }
    }

    /// Adds a workload.
    pub fn add_workload(&mut self, workload: impl Into<Arc<Workload>>) -> &mut Self {
        let workload = workload.into();
        let next = u32::try_from(self.workloads.len()).unwrap_or(u32::MAX);
        let at = *self.by_uid.entry(Arc::clone(&workload.uid)).or_insert(next);
        match self.workloads.get_mut(at as usize) {
            Some(known) => *known = workload,
            None => self.workloads.push(workload),
        }
        self
    }

    /// Adds a service.
    pub fn add_service(&mut self, service: impl Into<Arc<Service>>) -> &mut Self {
        let service = service.into();
        let next = self.services.len();
        let at = *self.service_keys.entry(service.key()).or_insert(next);
        match self.services.get_mut(at) {
            Some(known) => *known = service,
            None => self.services.push(service),
        }
        self
    }

    /// Adds a policy.
    pub fn add_policy(&mut self, policy: impl Into<Arc<Policy>>) -> &mut Self {
        let policy = policy.into();
        let next = self.policies.len();
        let at = *self.policy_keys.entry(policy.key()).or_insert(next);
        match self.policies.get_mut(at) {
            Some(known) => *known = policy,
            None => self.policies.push(policy),
        }
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
        Index::build(self.workloads, self.by_uid, self.services, self.policies)
    }
}
