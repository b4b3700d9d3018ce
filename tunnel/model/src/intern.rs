use std::collections::HashSet;
use std::sync::Arc;

use crate::{Identity, IdentityError, ServicePorts, WorkloadTraits};

/// Gives equal texts one allocation, for documents that repeat the same few names many times.
#[derive(Debug, Default)]
pub struct Interner {
    texts: HashSet<Arc<str>>,
    last_identity: Option<Identity>,
    identities: HashSet<Identity>,
    services: HashSet<ServicePorts>,
    traits: HashSet<Arc<WorkloadTraits>>,
}

impl Interner {
    /// The shared copy of `text`.
    pub fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.texts.get(text) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&shared));
        shared
    }

    /// The shared copy of an identity.
    ///
    /// # Errors
    /// As [`Identity::new`].
    pub fn identity(
        &mut self,
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Identity, IdentityError> {
        // Pods of one service account tend to follow each other.
        if let Some(last) = &self.last_identity
            && last.namespace() == namespace
            && last.service_account() == service_account
            && last.trust_domain() == trust_domain
        {
            return Ok(last.clone());
        }
        let made = Identity::new(trust_domain, namespace, service_account)?;
        let shared = self.identities.get(&made).unwrap_or(&made).clone();
        self.identities.insert(shared.clone());
        self.last_identity = Some(shared.clone());
        Ok(shared)
    }

    /// The shared copy of what a workload serves: its replicas serve the same.
    pub fn services(&mut self, services: ServicePorts) -> ServicePorts {
        if let Some(shared) = self.services.get(&services) {
            return shared.clone();
        }
        self.services.insert(services.clone());
        services
    }

    /// The shared copy of what a workload has in common with its replicas.
    pub fn traits(&mut self, traits: WorkloadTraits) -> Arc<WorkloadTraits> {
        if let Some(shared) = self.traits.get(&traits) {
            return Arc::clone(shared);
        }
        let shared = Arc::new(traits);
        self.traits.insert(Arc::clone(&shared));
        shared
    }

    /// How many things are shared.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len() + self.identities.len() + self.services.len() + self.traits.len()
    }

    /// Whether nothing is shared yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets go of what nobody uses any more, for whoever reads document after document.
    pub fn forget_unused(&mut self) {
        self.last_identity = None;
        // In this order, as each holds some of the next.
        self.traits.retain(|traits| Arc::strong_count(traits) > 1);
        self.services.retain(ServicePorts::is_shared);
        self.texts.retain(|text| Arc::strong_count(text) > 1);
        self.identities.retain(Identity::is_shared);
    }
}
