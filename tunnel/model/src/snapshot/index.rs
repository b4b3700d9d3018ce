use std::cmp::Reverse;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

use super::Endpoint;
use super::policies::Policies;
use super::services::Services;
use super::table::Table;
use crate::{MeshChanges, NetworkMode, Protocol, ServiceKey, Workload};

/// One layer of a snapshot. A copy shares everything with what it was made from; changing it costs
/// what is changed, not what there is.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    hasher: RandomState,
    by_uid: Table<Arc<Workload>>,
    by_ip: Table<Arc<Workload>>,
    by_name: Table<Arc<Workload>>,
    by_hostname: Table<Arc<Workload>>,
    endpoints: Table<Endpoints>,
    pub(super) services: Arc<Services>,
    pub(super) policies: Arc<Policies>,
}

/// The endpoints of one service.
#[derive(Debug, Clone)]
struct Endpoints {
    service: ServiceKey,
    list: Vec<Endpoint>,
}

impl Index {
    pub(super) fn change(&mut self, changes: MeshChanges) {
        for uid in &changes.gone {
            self.remove(uid);
        }
        for workload in changes.workloads {
            self.set(&workload);
        }
        if let Some(services) = changes.services {
            self.services = Arc::new(Services::new(services));
        }
        if let Some(policies) = changes.policies {
            self.policies = Arc::new(Policies::new(policies));
        }
    }

    /// Adds a workload, or replaces the one of its uid.
    pub(super) fn set(&mut self, workload: &Arc<Workload>) {
        let former = self.take(&workload.uid);
        let hash = self.hasher.hash_one(&*workload.uid);
        self.by_uid.insert(hash, Arc::clone(workload));
        for hash in self.hashes_of_addresses(workload) {
            self.by_ip.insert(hash, Arc::clone(workload));
        }
        let hash = self.hash_of_name(&workload.namespace, &workload.name);
        self.by_name.insert(hash, Arc::clone(workload));
        if !workload.hostname.is_empty() {
            let hash = self.hash_of_hostname(&workload.hostname);
            self.by_hostname.insert(hash, Arc::clone(workload));
        }
        self.serve(former.as_deref(), workload);
    }

    fn remove(&mut self, uid: &str) {
        if let Some(former) = self.take(uid) {
            for (service, _) in former.services.iter() {
                self.withdraw(service, uid);
            }
        }
    }

    /// Takes a workload out of everything but the endpoints, in whose lists another may take its place.
    fn take(&mut self, uid: &str) -> Option<Arc<Workload>> {
        let hash = self.hasher.hash_one(uid);
        let former = self.by_uid.remove(hash, |known| *known.uid == *uid)?;
        let meant = |known: &Arc<Workload>| Arc::ptr_eq(known, &former);
        for hash in self.hashes_of_addresses(&former) {
            self.by_ip.remove(hash, meant);
        }
        let hash = self.hash_of_name(&former.namespace, &former.name);
        self.by_name.remove(hash, meant);
        let hash = self.hash_of_hostname(&former.hostname);
        self.by_hostname.remove(hash, meant);
        Some(former)
    }

    fn serve(&mut self, former: Option<&Workload>, workload: &Arc<Workload>) {
        for (service, _) in former.into_iter().flat_map(|former| former.services.iter()) {
            if workload.services.get(service).is_none() {
                self.withdraw(service, &workload.uid);
            }
        }
        for (service, ports) in workload.services.iter() {
            let endpoint = Endpoint {
                workload: Arc::clone(workload),
                ports: ports.clone(),
            };
            let known = former.is_some_and(|former| former.services.get(service).is_some());
            let hash = self.hasher.hash_one(service);
            let list = self.endpoints.get_mut(hash, |all| all.service == *service);
            let Some(all) = list else {
                let (service, list) = (service.clone(), vec![endpoint]);
                self.endpoints.insert(hash, Endpoints { service, list });
                continue;
            };
            let same = |one: &Endpoint| one.workload.uid == workload.uid;
            // Only who was in the list is looked for in it.
            let before = known.then(|| all.list.iter().position(same)).flatten();
            match before {
                Some(at) => all.list[at] = endpoint,
                None => all.list.push(endpoint),
            }
        }
    }

    fn withdraw(&mut self, service: &ServiceKey, uid: &str) {
        let hash = self.hasher.hash_one(service);
        let meant = |all: &Endpoints| all.service == *service;
        if let Some(all) = self.endpoints.get_mut(hash, meant) {
            all.list.retain(|one| *one.workload.uid != *uid);
            if all.list.is_empty() {
                self.endpoints.remove(hash, meant);
            }
        }
    }

    /// One for each address that it owns.
    fn hashes_of_addresses(&self, workload: &Workload) -> Vec<u64> {
        if workload.network_mode == NetworkMode::HostNetwork {
            return Vec::new();
        }
        let hash = |ip: &IpAddr| self.hash_of_address(&workload.network, *ip);
        let mut hashes: Vec<u64> = workload.ips.iter().map(hash).collect();
        // An address that is named twice is owned once.
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    fn hash_of_address(&self, network: &str, ip: IpAddr) -> u64 {
        self.hasher.hash_one((network, ip.to_canonical()))
    }

    fn hash_of_name(&self, namespace: &str, name: &str) -> u64 {
        self.hasher.hash_one((namespace, name))
    }

    fn hash_of_hostname(&self, hostname: &str) -> u64 {
        self.hasher.hash_one(hostname.to_ascii_lowercase())
    }

    /// Whether this layer's word replaces all that `workload` would say in a layer below: it knows
    /// the uid, or the same pod with another uid, told by its name, account and an address.
    pub(super) fn hides(&self, workload: &Workload) -> bool {
        let same = |ip: &IpAddr| {
            self.workload_by_ip(&workload.network, *ip)
                .is_some_and(|known| {
                    known.name == workload.name && known.identity == workload.identity
                })
        };
        self.workload_by_uid(&workload.uid).is_some() || workload.ips.iter().any(same)
    }

    pub(super) fn workload_by_ip(&self, network: &str, ip: IpAddr) -> Option<&Arc<Workload>> {
        let ip = ip.to_canonical();
        let claimants = self.by_ip.of(self.hash_of_address(network, ip));
        let claimants = claimants.filter(|workload| {
            let mut ips = workload.ips.iter();
            *workload.network == *network && ips.any(|own| own.to_canonical() == ip)
        });
        claimants.max_by_key(|workload| rank(workload))
    }

    pub(super) fn workload_by_uid(&self, uid: &str) -> Option<&Arc<Workload>> {
        let mut found = self.by_uid.of(self.hasher.hash_one(uid));
        found.find(|workload| *workload.uid == *uid)
    }

    /// Of several HBONE before TCP, then the smallest uid.
    pub(super) fn workload_by_name(
        &self,
        namespace: &str,
        name: &str,
        service_account: &str,
    ) -> Option<&Arc<Workload>> {
        let found = self.by_name.of(self.hash_of_name(namespace, name));
        let found = found.filter(|workload| {
            *workload.name == *name
                && *workload.namespace == *namespace
                && workload.service_account() == service_account
        });
        found.min_by_key(|workload| (workload.protocol != Protocol::Hbone, &workload.uid))
    }

    pub(super) fn workload_by_hostname(&self, hostname: &str) -> Option<&Arc<Workload>> {
        let found = self.by_hostname.of(self.hash_of_hostname(hostname));
        let found = found.filter(|workload| workload.hostname.eq_ignore_ascii_case(hostname));
        found.min_by_key(|workload| &workload.uid)
    }

    pub(super) fn endpoints(&self, key: &ServiceKey) -> &[Endpoint] {
        let mut found = self.endpoints.of(self.hasher.hash_one(key));
        let all = found.find(|all| all.service == *key);
        all.map_or(&[], |all| &all.list)
    }

    /// By uid.
    pub(super) fn workloads(&self) -> Vec<&Arc<Workload>> {
        let mut all: Vec<_> = self.by_uid.iter().collect();
        all.sort_unstable_by_key(|workload| &workload.uid);
        all
    }
}

/// Of workloads that claim an address: a pod before anything else, HBONE before clear text, and
/// the smaller uid so that the answer does not depend on the order they came in.
fn rank(workload: &Workload) -> (bool, bool, Reverse<&str>) {
    let pod = workload.uid.contains("//Pod/");
    let hbone = workload.protocol == Protocol::Hbone;
    (pod, hbone, Reverse(&workload.uid))
}
