//! What the control plane has told so far, by the names it gave.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tunnel_model::{Interner, MeshState, Policy};

use super::convert::{self, AddressResource, PolicyFault, ResourceType};
use super::proto::{DeltaDiscoveryResponse, Resource};

/// Everything that is known. Ordered by name, so that of equals always the same one is the first.
#[derive(Debug, Default)]
pub(crate) struct Known {
    addresses: BTreeMap<Arc<str>, Held<AddressResource>>,
    policies: BTreeMap<Arc<str>, Held<Arc<Policy>>>,
    told: [bool; ResourceType::ALL.len()],
    interner: Interner,
    /// Texts that were shared after they were last looked through.
    interned: usize,
}

#[derive(Debug)]
struct Held<T> {
    version: Box<str>,
    value: T,
}

/// A resource that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// Its name.
    pub(crate) name: String,
    /// The first thing that is wrong with it.
    pub(crate) why: String,
}

/// Whether a response says what changed, or all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Changes,
    Everything,
}

impl Known {
    /// Takes what a response says. What is wrong with a resource is no reason not to take others;
    /// of one that is rejected the version before stays in force.
    pub(crate) fn apply(
        &mut self,
        kind: ResourceType,
        response: DeltaDiscoveryResponse,
        extent: Extent,
    ) -> Vec<Rejected> {
        if extent == Extent::Everything {
            self.keep_only(kind, &response);
        }
        for name in &response.removed_resources {
            match kind {
                ResourceType::Address => drop(self.addresses.remove(name.as_str())),
                ResourceType::Authorization => drop(self.policies.remove(name.as_str())),
            }
        }
        let mut rejected = Vec::new();
        for resource in response.resources {
            if let Err(why) = self.take(kind, &resource) {
                let name = resource.name;
                rejected.push(Rejected { name, why });
            }
        }
        self.told[kind as usize] = true;
        self.forget_texts();
        rejected
    }

    /// Whether each type has been told of, if only that there is nothing of it.
    pub(crate) fn is_complete(&self) -> bool {
        self.told.iter().all(|told| *told)
    }

    /// The versions of all that is held of a type, by name.
    pub(crate) fn versions(&self, kind: ResourceType) -> HashMap<String, String> {
        fn of<T>(all: &BTreeMap<Arc<str>, Held<T>>) -> HashMap<String, String> {
            let pair = |(name, held): (&Arc<str>, &Held<T>)| {
                (name.as_ref().to_owned(), held.version.as_ref().to_owned())
            };
            all.iter().map(pair).collect()
        }
        match kind {
            ResourceType::Address => of(&self.addresses),
            ResourceType::Authorization => of(&self.policies),
        }
    }

    /// How many resources of a type are held.
    pub(crate) fn count(&self, kind: ResourceType) -> usize {
        match kind {
            ResourceType::Address => self.addresses.len(),
            ResourceType::Authorization => self.policies.len(),
        }
    }

    /// How many texts are shared.
    #[cfg(test)]
    pub(crate) fn texts(&self) -> usize {
        self.interner.len()
    }

    /// Everything, to be published.
    pub(crate) fn state(&self) -> MeshState {
        let mut state = MeshState {
            workloads: Vec::with_capacity(self.addresses.len()),
            services: Vec::new(),
            policies: Vec::with_capacity(self.policies.len()),
        };
        for held in self.addresses.values() {
            match &held.value {
                AddressResource::Workload(workload) => state.workloads.push(Arc::clone(workload)),
                AddressResource::Service(service) => state.services.push(Arc::clone(service)),
            }
        }
        let policies = self.policies.values();
        state
            .policies
            .extend(policies.map(|held| Arc::clone(&held.value)));
        state
    }

    fn take(&mut self, kind: ResourceType, resource: &Resource) -> Result<(), String> {
        let Resource {
            version,
            resource,
            name,
        } = resource;
        if name.is_empty() {
            return Err("it has no name".to_owned());
        }
        let any = resource.as_ref().ok_or("it has no content")?;
        match kind {
            ResourceType::Address => {
                let value = convert::address(any, &mut self.interner)?;
                let name = shared_name(name, &value);
                hold(&mut self.addresses, name, version, value);
                Ok(())
            }
            ResourceType::Authorization => {
                let read = convert::policy(any, &mut self.interner);
                self.take_policy(name, version, read)
            }
        }
    }

    /// A policy that cannot be read is better replaced by one that refuses than left out: who is
    /// not let through would be.
    fn take_policy(
        &mut self,
        name: &str,
        version: &str,
        read: Result<Policy, PolicyFault>,
    ) -> Result<(), String> {
        let fault = match read {
            Ok(policy) => {
                hold(&mut self.policies, name.into(), version, policy.into());
                return Ok(());
            }
            Err(fault) => fault,
        };
        let why = fault.why().to_owned();
        if let PolicyFault::Malformed { stand_in, .. } = fault
            && !self.policies.contains_key(name)
        {
            // Without a version, so that it is sent again when it is asked for.
            hold(&mut self.policies, name.into(), "", stand_in.into());
        }
        Err(why)
    }

    fn keep_only(&mut self, kind: ResourceType, response: &DeltaDiscoveryResponse) {
        let named: std::collections::HashSet<&str> = response
            .resources
            .iter()
            .map(|resource| resource.name.as_str())
            .collect();
        match kind {
            ResourceType::Address => self.addresses.retain(|name, _| named.contains(&**name)),
            ResourceType::Authorization => self.policies.retain(|name, _| named.contains(&**name)),
        }
    }

    /// Looks through the shared texts when there are twice as many as last time.
    fn forget_texts(&mut self) {
        if self.interner.len() > 2 * self.interned + FEW_TEXTS {
            self.interner.forget_unused();
            self.interned = self.interner.len();
        }
    }
}

/// Not worth looking through.
const FEW_TEXTS: usize = 1024;

/// A workload is named by its uid: the text is there once already.
fn shared_name(name: &str, value: &AddressResource) -> Arc<str> {
    match value {
        AddressResource::Workload(workload) if *workload.uid == *name => Arc::clone(&workload.uid),
        _ => name.into(),
    }
}

fn hold<T>(all: &mut BTreeMap<Arc<str>, Held<T>>, name: Arc<str>, version: &str, value: T) {
    let version = version.into();
    all.insert(name, Held { version, value });
}
