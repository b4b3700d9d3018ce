//! The mesh at one moment, indexed for the questions a connection asks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use crate::policy::{Policy, PolicyKey, PolicyScope};
use crate::service::{NetworkAddress, Service, ServiceKey};
use crate::workload::{PortMap, Protocol, Workload};

/// One endpoint of a service.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The workload.
    pub workload: Arc<Workload>,
    /// Its ports for this service.
    pub ports: PortMap,
}

/// Who owns an address. An address may belong to more than one workload while one replaces another;
/// the best is kept.
type ByAddress<T> = HashMap<Arc<str>, HashMap<IpAddr, T>>;

/// By namespace and name.
type ByName<T> = HashMap<Arc<str>, HashMap<Arc<str>, T>>;

/// Everything known of the mesh, immutable.
#[derive(Debug, Default)]
pub struct Snapshot {
    version: u64,
    by_uid: HashMap<Arc<str>, Arc<Workload>>,
    by_ip: ByAddress<Arc<Workload>>,
    by_name: ByName<Vec<Arc<Workload>>>,
    services: HashMap<ServiceKey, Arc<Service>>,
    by_vip: ByAddress<Vec<Arc<Service>>>,
    by_hostname: HashMap<Arc<str>, Vec<Arc<Service>>>,
    ranges: HashMap<Arc<str>, Vec<(IpNetwork, Arc<Service>)>>,
    endpoints: HashMap<ServiceKey, Arc<[Endpoint]>>,
    policies: HashMap<PolicyKey, Arc<Policy>>,
    global: Vec<Arc<Policy>>,
    by_namespace: HashMap<Arc<str>, Vec<Arc<Policy>>>,
}

impl Snapshot {
    /// Grows with every change.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The workload with this uid.
    #[must_use]
    pub fn workload_by_uid(&self, uid: &str) -> Option<&Arc<Workload>> {
        self.by_uid.get(uid)
    }

    /// The workload that owns an address of a network.
    #[must_use]
    pub fn workload_by_ip(&self, network: &str, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.by_ip.get(network)?.get(&ip)
    }

    /// The workload of record for a pod of this node.
    #[must_use]
    pub fn workload_by_name(
        &self,
        namespace: &str,
        name: &str,
        service_account: &str,
    ) -> Option<&Arc<Workload>> {
        self.by_name
            .get(namespace)?
            .get(name)?
            .iter()
            .find(|w| &*w.service_account == service_account)
    }

    /// The service with this key.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// The service a virtual address belongs to, as a client of `namespace` sees it: an exact
    /// address before a range; then its own namespace, then longer ranges, then canonical ones.
    #[must_use]
    pub fn service_by_vip(
        &self,
        network: &str,
        ip: IpAddr,
        namespace: &str,
    ) -> Option<&Arc<Service>> {
        let exact = self.by_vip.get(network).and_then(|ips| ips.get(&ip));
        let best = exact.and_then(|services| best_of(services, namespace));
        best.or_else(|| {
            self.ranges
                .get(network)?
                .iter()
                .filter(|(range, service)| range.contains(ip) && visible(service, namespace))
                .max_by_key(|(range, s)| (*s.namespace == *namespace, range.prefix(), s.canonical))
                .map(|(_, service)| service)
        })
    }

    /// The service of a host name, as a client of `namespace` sees it.
    #[must_use]
    pub fn service_by_hostname(&self, hostname: &str, namespace: &str) -> Option<&Arc<Service>> {
        best_of(self.by_hostname.get(hostname)?, namespace)
    }

    /// Every endpoint of a service, healthy or not.
    #[must_use]
    pub fn endpoints(&self, key: &ServiceKey) -> &[Endpoint] {
        self.endpoints.get(key).map_or(&[], |e| e)
    }

    /// The policy with this key.
    #[must_use]
    pub fn policy(&self, key: &PolicyKey) -> Option<&Arc<Policy>> {
        self.policies.get(key)
    }

    /// Policies that apply to the whole mesh.
    #[must_use]
    pub fn global_policies(&self) -> &[Arc<Policy>] {
        &self.global
    }

    /// Policies that apply to all of a namespace.
    #[must_use]
    pub fn namespace_policies(&self, namespace: &str) -> &[Arc<Policy>] {
        self.by_namespace.get(namespace).map_or(&[], |p| p)
    }

    /// All workloads, in no order.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.by_uid.values()
    }

    /// All services, in no order.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// All policies, in no order.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.policies.values()
    }
}

fn visible(service: &Service, namespace: &str) -> bool {
    !service.namespace_private || &*service.namespace == namespace
}

fn best_of<'a>(services: &'a [Arc<Service>], namespace: &str) -> Option<&'a Arc<Service>> {
    // Of equals the first: `max_by_key` alone would take the last.
    services
        .iter()
        .rev()
        .filter(|s| visible(s, namespace))
        .max_by_key(|s| (*s.namespace == *namespace, s.canonical))
}

/// Gathers facts into a [`Snapshot`]. What is added later replaces what has the same key.
#[derive(Debug, Default)]
pub struct SnapshotBuilder {
    workloads: HashMap<Arc<str>, Arc<Workload>>,
    services: HashMap<ServiceKey, Arc<Service>>,
    policies: HashMap<PolicyKey, Arc<Policy>>,
}

impl SnapshotBuilder {
    /// An empty mesh.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a workload.
    pub fn workload(&mut self, workload: impl Into<Arc<Workload>>) -> &mut Self {
        let workload = workload.into();
        self.workloads.insert(Arc::clone(&workload.uid), workload);
        self
    }

    /// Adds or replaces a service.
    pub fn service(&mut self, service: impl Into<Arc<Service>>) -> &mut Self {
        let service = service.into();
        self.services.insert(service.key(), service);
        self
    }

    /// Adds or replaces a policy.
    pub fn policy(&mut self, policy: impl Into<Arc<Policy>>) -> &mut Self {
        let policy = policy.into();
        self.policies.insert(policy.key(), policy);
        self
    }

    /// Indexes everything.
    #[must_use]
    pub fn build(self, version: u64) -> Snapshot {
        let mut snapshot = Snapshot {
            version,
            ..Snapshot::default()
        };
        let mut endpoints: HashMap<ServiceKey, Vec<Endpoint>> = HashMap::new();
        let mut workloads: Vec<_> = self.workloads.into_values().collect();
        // A fixed order makes ties and the choice of endpoints the same for the same mesh.
        workloads.sort_unstable_by(|a, b| a.uid.cmp(&b.uid));
        snapshot.by_uid.reserve(workloads.len());
        for workload in workloads {
            snapshot.add_workload(&workload, &mut endpoints);
        }
        snapshot.endpoints = endpoints.into_iter().map(|(k, e)| (k, e.into())).collect();
        let mut services: Vec<_> = self.services.into_values().collect();
        services.sort_unstable_by_key(|s| s.key());
        for service in services {
            snapshot.add_service(&service);
        }
        let mut policies: Vec<_> = self.policies.into_values().collect();
        policies.sort_unstable_by_key(|p| p.key());
        for policy in policies {
            snapshot.add_policy(policy);
        }
        snapshot
    }
}

impl Snapshot {
    fn add_workload(
        &mut self,
        workload: &Arc<Workload>,
        endpoints: &mut HashMap<ServiceKey, Vec<Endpoint>>,
    ) {
        self.by_uid
            .insert(Arc::clone(&workload.uid), Arc::clone(workload));
        let name = (Arc::clone(&workload.namespace), Arc::clone(&workload.name));
        self.by_name
            .entry(name)
            .or_default()
            .push(Arc::clone(workload));
        for (service, ports) in &workload.services {
            let endpoint = Endpoint {
                workload: Arc::clone(workload),
                ports: ports.clone(),
            };
            endpoints.entry(service.clone()).or_default().push(endpoint);
        }
        if workload.host_network {
            return;
        }
        let ips = self.by_ip.entry(Arc::clone(&workload.network)).or_default();
        for ip in &workload.ips {
            let ip = ip.to_canonical();
            match ips.get(&ip) {
                Some(known) if rank(known) >= rank(workload) => {}
                _ => drop(ips.insert(ip, Arc::clone(workload))),
            }
        }
    }

    fn add_service(&mut self, service: &Arc<Service>) {
        for NetworkAddress { network, ip } in &service.vips {
            let ips = self.by_vip.entry(Arc::clone(network)).or_default();
            ips.entry(ip.to_canonical())
                .or_default()
                .push(Arc::clone(service));
        }
        for vip in &service.cidr_vips {
            let ranges = self.ranges.entry(Arc::clone(&vip.network)).or_default();
            ranges.push((vip.range, Arc::clone(service)));
        }
        let named = self
            .by_hostname
            .entry(Arc::clone(&service.hostname))
            .or_default();
        named.push(Arc::clone(service));
        self.services.insert(service.key(), Arc::clone(service));
    }

    fn add_policy(&mut self, policy: Arc<Policy>) {
        match policy.scope {
            PolicyScope::Global => self.global.push(Arc::clone(&policy)),
            PolicyScope::Namespace => {
                let namespace = Arc::clone(&policy.namespace);
                self.by_namespace
                    .entry(namespace)
                    .or_default()
                    .push(Arc::clone(&policy));
            }
            PolicyScope::WorkloadSelector => {}
        }
        self.policies.insert(policy.key(), policy);
    }
}

/// Which of two workloads with one address is the real one: a pod before an entry somebody wrote,
/// one that can be reached by HBONE before one that cannot.
fn rank(workload: &Workload) -> (bool, bool) {
    (
        workload.uid.contains("//Pod/"),
        workload.protocol == Protocol::Hbone,
    )
}
