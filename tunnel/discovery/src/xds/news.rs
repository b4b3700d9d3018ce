//! What of that which the control plane has told is not published yet.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tunnel_model::{MeshChanges, MeshState, Policy, Service, Workload};

use super::convert::AddressResource;
use super::known::Held;

/// Names of what changed.
#[derive(Debug, Default)]
pub(crate) struct News {
    basis: Basis,
    workloads: HashSet<Arc<str>>,
    services: Change,
    policies: Change,
}

/// Whether what is published can be changed into what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Basis {
    #[default]
    Nothing,
    Published,
    /// A workload was told under a name that is not its uid: of the same uid there may be another.
    Irregular,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Change {
    #[default]
    None,
    Some,
}

/// What is to be published.
#[derive(Debug)]
pub(crate) enum Publication {
    /// Instead of what is published.
    Everything(MeshState),
    /// On top of it.
    Changes(MeshChanges),
}

type Named<T> = BTreeMap<Arc<str>, Held<T>>;

impl News {
    /// A resource of this name came or went.
    pub(crate) fn address(&mut self, name: &Arc<str>, resource: Option<&AddressResource>) {
        match resource {
            None => {}
            Some(AddressResource::Service(_)) => self.services = Change::Some,
            Some(AddressResource::Workload(workload)) => {
                if *workload.uid != **name {
                    self.basis = Basis::Irregular;
                }
                // While all is new there is no need to remember each.
                if self.basis == Basis::Published {
                    self.workloads.insert(Arc::clone(name));
                }
            }
        }
    }

    /// A policy came or went.
    pub(crate) fn policies(&mut self) {
        self.policies = Change::Some;
    }

    /// Takes what is to be published out of what is known, and begins anew.
    pub(crate) fn take(
        &mut self,
        addresses: &Named<AddressResource>,
        policies: &Named<Arc<Policy>>,
    ) -> Publication {
        let basis = match self.basis {
            Basis::Nothing | Basis::Published => Basis::Published,
            Basis::Irregular => Basis::Irregular,
        };
        let fresh = Self {
            basis,
            ..Self::default()
        };
        let news = std::mem::replace(self, fresh);
        if news.basis == Basis::Published {
            Publication::Changes(news.changes(addresses, policies))
        } else {
            Publication::Everything(MeshState {
                workloads: addresses.values().filter_map(workload).collect(),
                services: addresses.values().filter_map(service).collect(),
                policies: all(policies),
            })
        }
    }

    fn changes(
        self,
        addresses: &Named<AddressResource>,
        policies: &Named<Arc<Policy>>,
    ) -> MeshChanges {
        let mut changes = MeshChanges::default();
        for name in self.workloads {
            match addresses.get(&name).and_then(workload) {
                Some(workload) => changes.workloads.push(workload),
                None => changes.gone.push(name),
            }
        }
        if self.services == Change::Some {
            changes.services = Some(addresses.values().filter_map(service).collect());
        }
        if self.policies == Change::Some {
            changes.policies = Some(all(policies));
        }
        changes
    }
}

fn workload(held: &Held<AddressResource>) -> Option<Arc<Workload>> {
    match &held.value {
        AddressResource::Workload(workload) => Some(Arc::clone(workload)),
        AddressResource::Service(_) => None,
    }
}

fn service(held: &Held<AddressResource>) -> Option<Arc<Service>> {
    match &held.value {
        AddressResource::Service(service) => Some(Arc::clone(service)),
        AddressResource::Workload(_) => None,
    }
}

fn all(policies: &Named<Arc<Policy>>) -> Vec<Arc<Policy>> {
    let policies = policies.values();
    policies.map(|held| Arc::clone(&held.value)).collect()
}
