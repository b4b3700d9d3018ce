//! What the control plane has told so far, by the names it gave.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::str;
use std::sync::Arc;

use tunnel_model::{Interner, Policy};

use super::convert::{self, AddressResource, PolicyFault, ResourceType};
use super::news::{News, Publication};
use super::proto::{DeltaDiscoveryResponse, Resource};

/// Everything that is known. Ordered by name, so that of equals always the same one is the first.
#[derive(Debug, Default)]
pub(crate) struct Known {
    addresses: BTreeMap<Arc<str>, Held<AddressResource>>,
    policies: BTreeMap<Arc<str>, Held<Arc<Policy>>>,
    told: [bool; ResourceType::ALL.len()],
    /// What was not published yet.
    news: News,
    interner: Interner,
    /// Texts that were shared after they were last looked through.
    interned: usize,
}

#[derive(Debug)]
pub(super) struct Held<T> {
    version: Box<str>,
    pub(super) value: T,
}

/// A resource that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejected {
    /// Its name.
    pub(crate) name: String,
    /// The first thing that is wrong with it.
    pub(crate) why: String,
}

/// What a response says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What changed.
    Changes,
    /// That, up to the last name whose version was told; and all there is of names after it.
    AllAfter(Arc<str>),
}

/// Versions by name, in the order of names, as many as there is room for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) held: HashMap<String, String>,
    /// What the response to them will say.
    pub(crate) extent: Extent,
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
        if let Extent::AllAfter(last) = extent {
            self.keep_named(kind, &last, &response);
        }
        for name in &response.removed_resources {
            self.remove(kind, name);
        }
        let mut rejected = Vec::new();
        for resource in response.resources {
            if let Err(why) = self.take(kind, &resource) {
                let name = String::from_utf8_lossy(&resource.name).into_owned();
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

    /// The versions of what is held of a type, of about so many bytes.
    pub(crate) fn versions(&self, kind: ResourceType, room: usize) -> Versions {
        match kind {
            ResourceType::Address => versions(&self.addresses, room),
            ResourceType::Authorization => versions(&self.policies, room),
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

    /// Everything, published or not.
    #[cfg(test)]
    pub(crate) fn everything(&self) -> Publication {
        News::default().take(&self.addresses, &self.policies)
    }

    /// What is not published yet; it counts as published from now on.
    pub(crate) fn news(&mut self) -> Publication {
        self.news.take(&self.addresses, &self.policies)
    }

    fn take(&mut self, kind: ResourceType, resource: &Resource) -> Result<(), String> {
        let Resource {
            version,
            resource,
            name,
        } = resource;
        let text =
            |bytes, what| str::from_utf8(bytes).map_err(|_| format!("its {what} is no text"));
        let (name, version) = (text(name, "name")?, text(version, "version")?);
        if name.is_empty() {
            return Err("it has no name".to_owned());
        }
        let any = resource.as_ref().ok_or("it has no content")?;
        if self.holds(kind, name, version) {
            return Ok(());
        }
        match kind {
            ResourceType::Address => {
                let value = convert::address(any, &mut self.interner)?;
                let name = shared_name(name, &value);
                self.news.address(&name, Some(&value));
                let former = hold(&mut self.addresses, Arc::clone(&name), version, value);
                self.news.address(&name, former.as_ref());
                Ok(())
            }
            ResourceType::Authorization => {
                let read = convert::policy(any, &mut self.interner);
                self.take_policy(name, version, read)
            }
        }
    }

    /// Whether a resource is held in this version. One without a version may be another each time.
    fn holds(&self, kind: ResourceType, name: &str, version: &str) -> bool {
        let held = match kind {
            ResourceType::Address => self.addresses.get(name).map(|held| &held.version),
            ResourceType::Authorization => self.policies.get(name).map(|held| &held.version),
        };
        !version.is_empty() && held.is_some_and(|held| **held == *version)
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
                self.news.policies();
                hold(&mut self.policies, name.into(), version, policy.into());
                return Ok(());
            }
            Err(fault) => fault,
        };
        let why = fault.why().to_owned();
        if let PolicyFault::Malformed { stand_in, .. } = fault
            && !self.policies.contains_key(name)
        {
            self.news.policies();
            // Without a version, so that it is sent again when it is asked for.
            hold(&mut self.policies, name.into(), "", stand_in.into());
        }
        Err(why)
    }

    fn remove(&mut self, kind: ResourceType, name: &str) {
        match kind {
            ResourceType::Address => {
                if let Some((name, held)) = self.addresses.remove_entry(name) {
                    self.news.address(&name, Some(&held.value));
                }
            }
            ResourceType::Authorization => {
                if self.policies.remove(name).is_some() {
                    self.news.policies();
                }
            }
        }
    }

    /// Of what comes after a name, only what a response names is kept.
    fn keep_named(&mut self, kind: ResourceType, last: &str, response: &DeltaDiscoveryResponse) {
        fn unnamed<T>(
            all: &BTreeMap<Arc<str>, Held<T>>,
            last: &str,
            response: &DeltaDiscoveryResponse,
        ) -> Vec<Arc<str>> {
            let resources = response.resources.iter();
            let named: HashSet<&[u8]> = resources.map(|resource| &*resource.name).collect();
            let after = all.range::<str, _>((Bound::Excluded(last), Bound::Unbounded));
            let names = after.map(|(name, _)| name);
            let gone = names.filter(|name| !named.contains(name.as_bytes()));
            gone.cloned().collect()
        }
        let gone = match kind {
            ResourceType::Address => unnamed(&self.addresses, last, response),
            ResourceType::Authorization => unnamed(&self.policies, last, response),
        };
        for name in gone {
            self.remove(kind, &name);
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

/// What was held of that name before.
fn hold<T>(
    all: &mut BTreeMap<Arc<str>, Held<T>>,
    name: Arc<str>,
    version: &str,
    value: T,
) -> Option<T> {
    let version = version.into();
    let former = all.insert(name, Held { version, value });
    former.map(|held| held.value)
}

fn versions<T>(all: &BTreeMap<Arc<str>, Held<T>>, mut room: usize) -> Versions {
    let mut held = HashMap::with_capacity(all.len());
    let mut last: Arc<str> = "".into();
    for (name, one) in all {
        let size = name.len() + one.version.len() + AROUND_A_VERSION;
        let Some(left) = room.checked_sub(size) else {
            let extent = Extent::AllAfter(last);
            return Versions { held, extent };
        };
        room = left;
        last = Arc::clone(name);
        held.insert(name.as_ref().to_owned(), one.version.as_ref().to_owned());
    }
    let extent = Extent::Changes;
    Versions { held, extent }
}

/// Tags and lengths of an entry of a map, at most, if neither text is longer than 16 KiB.
const AROUND_A_VERSION: usize = 10;
