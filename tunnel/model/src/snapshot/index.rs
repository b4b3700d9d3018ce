use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::Endpoint;
use super::vips::{VipTable, better_named};
use crate::{NetworkMode, Policy, PolicyKey, Protocol, Scope, Service, ServiceKey, Workload};

/// One layer of a snapshot. Positions are into the vectors, to keep the maps small.
#[derive(Debug, Default)]
pub(super) struct Index {
    workloads: Vec<Arc<Workload>>,
    by_uid: HashMap<Arc<str>, u32>,
    by_ip: HashMap<Arc<str>, HashMap<IpAddr, u32>>,
    by_name: HashMap<Arc<str>, HashMap<Arc<str>, Named>>,
    by_hostname: HashMap<Box<str>, u32>,
    endpoints: HashMap<ServiceKey, Vec<Endpoint>>,
    services: Vec<Arc<Service>>,
    service_keys: HashMap<ServiceKey, u32>,
    vips: HashMap<Arc<str>, VipTable>,
    hosts: HashMap<Box<str>, Vec<Arc<Service>>>,
    policies: Vec<Arc<Policy>>,
    policy_keys: HashMap<PolicyKey, u32>,
    global_policies: Vec<Arc<Policy>>,
    namespace_policies: HashMap<Arc<str>, Vec<Arc<Policy>>>,
}

/// Workloads of one name: nearly always one, so the rest is off to the side.
#[derive(Debug)]
struct Named {
    first: u32,
    others: Vec<u32>,
}

/// A position; there are never 2^32 of anything here, and if there were the last would stand in.
fn position(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

impl Index {
    pub(super) fn build(
        workloads: Vec<Arc<Workload>>,
        by_uid: HashMap<Arc<str>, u32>,
        services: Vec<Arc<Service>>,
        policies: Vec<Arc<Policy>>,
    ) -> Self {
        let mut index = Self {
            workloads,
            by_uid,
            services,
            policies,
            ..Self::default()
        };
        index.index_workloads();
        index.index_services();
        index.index_policies();
        index
    }

    fn index_workloads(&mut self) {
        for at in 0..self.workloads.len() {
            let workload = Arc::clone(&self.workloads[at]);
            let at = position(at);
            self.index_addresses(at, &workload);
            self.index_name(at, &workload);
            if !workload.hostname.is_empty() {
                let host = workload.hostname.to_ascii_lowercase().into_boxed_str();
                self.by_hostname.entry(host).or_insert(at);
            }
            for (service, ports) in workload.services.iter() {
                let endpoint = Endpoint {
                    workload: Arc::clone(&workload),
                    ports: ports.clone(),
                };
                self.endpoints
                    .entry(service.clone())
                    .or_default()
                    .push(endpoint);
            }
        }
    }

    fn index_addresses(&mut self, at: u32, workload: &Arc<Workload>) {
        if workload.network_mode == NetworkMode::HostNetwork || workload.ips.is_empty() {
            return;
        }
        let network = entry(&mut self.by_ip, &workload.network, HashMap::default);
        for ip in &workload.ips {
            let owner = network.entry(ip.to_canonical()).or_insert(at);
            if *owner != at && outranks(workload, &self.workloads[*owner as usize]) {
                *owner = at;
            }
        }
    }

    fn index_name(&mut self, at: u32, workload: &Arc<Workload>) {
        let namespace = entry(&mut self.by_name, &workload.namespace, HashMap::default);
        namespace
            .entry(Arc::clone(&workload.name))
            .and_modify(|known: &mut Named| known.others.push(at))
            .or_insert(Named {
                first: at,
                others: Vec::new(),
            });
    }

    fn index_services(&mut self) {
        for (at, service) in self.services.iter().enumerate() {
            self.service_keys.insert(service.key(), position(at));
            for vip in &service.vips {
                entry(&mut self.vips, &vip.network, VipTable::default).add(vip.ip, service);
            }
            for (network, block) in &service.cidr_vips {
                entry(&mut self.vips, network, VipTable::default).add_block(*block, service);
            }
            let host = service.hostname.to_ascii_lowercase().into_boxed_str();
            self.hosts
                .entry(host)
                .or_default()
                .push(Arc::clone(service));
        }
        self.vips.values_mut().for_each(VipTable::finish);
    }

    fn index_policies(&mut self) {
        for (at, policy) in self.policies.iter().enumerate() {
            self.policy_keys.insert(policy.key(), position(at));
            match policy.scope {
                Scope::Global => self.global_policies.push(Arc::clone(policy)),
                Scope::Namespace => {
                    entry(&mut self.namespace_policies, &policy.namespace, Vec::new)
                        .push(Arc::clone(policy));
                }
                Scope::WorkloadSelector => {}
            }
        }
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
        self.by_uid.contains_key(&workload.uid) || workload.ips.iter().any(same)
    }

    pub(super) fn workload(&self, position: usize) -> Option<&Arc<Workload>> {
        self.workloads.get(position)
    }

    pub(super) fn workload_by_ip(&self, network: &str, ip: IpAddr) -> Option<&Arc<Workload>> {
        let at = *self.by_ip.get(network)?.get(&ip.to_canonical())?;
        self.workload(at as usize)
    }

    pub(super) fn workload_by_uid(&self, uid: &str) -> Option<&Arc<Workload>> {
        self.workload(*self.by_uid.get(uid)? as usize)
    }

    pub(super) fn position_by_name(
        &self,
        namespace: &str,
        name: &str,
        service_account: &str,
    ) -> Option<usize> {
        let named = self.by_name.get(namespace)?.get(name)?;
        let all = std::iter::once(named.first).chain(named.others.iter().copied());
        all.map(|at| at as usize)
            .filter(|at| self.workloads[*at].service_account() == service_account)
            .min_by_key(|at| self.workloads[*at].protocol != Protocol::Hbone)
    }

    pub(super) fn workload_by_hostname(&self, hostname: &str) -> Option<&Arc<Workload>> {
        let at = *self
            .by_hostname
            .get(hostname.to_ascii_lowercase().as_str())?;
        self.workload(at as usize)
    }

    pub(super) fn service_by_vip(
        &self,
        network: &str,
        ip: IpAddr,
        client_namespace: &str,
    ) -> Option<&Arc<Service>> {
        self.vips
            .get(network)?
            .find(ip.to_canonical(), client_namespace)
    }

    pub(super) fn service_by_host(&self, host: &str, namespace: &str) -> Option<&Arc<Service>> {
        let named = match self.hosts.get(host) {
            Some(named) => named,
            None => self.hosts.get(host.to_ascii_lowercase().as_str())?,
        };
        better_named(named, namespace)
    }

    pub(super) fn service_by_key(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(*self.service_keys.get(key)? as usize)
    }

    pub(super) fn endpoints(&self, key: &ServiceKey) -> &[Endpoint] {
        self.endpoints.get(key).map_or(&[], Vec::as_slice)
    }

    pub(super) fn policy(&self, key: &PolicyKey) -> Option<&Arc<Policy>> {
        self.policies.get(*self.policy_keys.get(key)? as usize)
    }

    pub(super) fn policies_by_scope(
        &self,
        namespace: &str,
    ) -> impl Iterator<Item = &Arc<Policy>> + Clone {
        let own = self
            .namespace_policies
            .get(namespace)
            .map_or(&[][..], Vec::as_slice);
        self.global_policies.iter().chain(own)
    }

    pub(super) fn workloads(&self) -> &[Arc<Workload>] {
        &self.workloads
    }

    pub(super) fn services(&self) -> &[Arc<Service>] {
        &self.services
    }

    pub(super) fn policies(&self) -> &[Arc<Policy>] {
        &self.policies
    }
}

/// The value of a shared key, made if there is none.
fn entry<'a, V>(
    map: &'a mut HashMap<Arc<str>, V>,
    key: &Arc<str>,
    make: impl FnOnce() -> V,
) -> &'a mut V {
    map.entry(Arc::clone(key)).or_insert_with(make)
}

/// Of two workloads that claim an address: a pod before anything else, HBONE before clear text,
/// and the smaller uid so that the answer does not depend on the order they came in.
fn outranks(challenger: &Workload, holder: &Workload) -> bool {
    let rank = |w: &Workload| (w.uid.contains("//Pod/"), w.protocol == Protocol::Hbone);
    (rank(challenger), &holder.uid) > (rank(holder), &challenger.uid)
}
