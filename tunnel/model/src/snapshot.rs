mod builder;
mod index;
mod policies;
mod services;
mod table;
mod vips;

use std::net::IpAddr;
use std::sync::Arc;

use crate::{MeshChanges, Policy, PolicyKey, PortMap, Service, ServiceKey, Workload};

pub use builder::SnapshotBuilder;
use index::Index;

/// One endpoint of a service: a workload, and the ports it serves there. Unhealthy ones are
/// here too; whether they may be chosen is decided with the service at hand.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The workload.
    pub workload: Arc<Workload>,
    /// Its port for each port of the service.
    pub ports: PortMap,
}

/// What was known of the mesh at one moment. Never changes; every answer is a hash lookup.
/// The next one shares with it what is the same in both.
///
/// It has two layers: what discovery says, and workloads of this node that discovery may not
/// have heard of yet. Discovery's word on a workload hides all the local one says, its addresses
/// included. As long as there is none this node knows better who is here: what discovery still says
/// of a pod that had the address before does not count.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    version: u64,
    told: bool,
    mesh: Arc<Index>,
    local: Arc<Index>,
}

impl Snapshot {
    /// Counts up with every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The same mesh with other local workloads, sharing everything else.
    #[must_use]
    pub fn with_local(&self, version: u64, local: impl IntoIterator<Item = Arc<Workload>>) -> Self {
        let mut builder = SnapshotBuilder::default();
        for workload in local {
            if !self.mesh.hides(&workload) {
                builder.add_workload(workload);
            }
        }
        Self {
            version,
            told: self.told,
            mesh: Arc::clone(&self.mesh),
            local: Arc::new(builder.index()),
        }
    }

    /// What discovery says after changes, without local workloads. What did not change is shared.
    #[must_use]
    pub fn changed(&self, changes: MeshChanges) -> Self {
        let mut mesh = (*self.mesh).clone();
        mesh.change(changes);
        Self {
            version: self.version,
            told: true,
            mesh: Arc::new(mesh),
            local: Arc::default(),
        }
    }

    /// The workload that owns an address. Workloads on their node's network own none.
    #[must_use]
    pub fn workload_by_ip(&self, network: &str, ip: IpAddr) -> Option<&Arc<Workload>> {
        self.local
            .workload_by_ip(network, ip)
            .or_else(|| self.mesh.workload_by_ip(network, ip))
    }

    /// The workload with this uid.
    #[must_use]
    pub fn workload_by_uid(&self, uid: &str) -> Option<&Arc<Workload>> {
        self.mesh
            .workload_by_uid(uid)
            .or_else(|| self.local.workload_by_uid(uid))
    }

    /// Whether discovery has told anything yet: then all policies there were are known.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.told
    }

    /// Whether discovery itself knows this workload. What this node says of its own pods is enough
    /// to be reached by, but does not say which policies apply to them.
    #[must_use]
    pub fn is_discovered(&self, uid: &str) -> bool {
        self.mesh.workload_by_uid(uid).is_some()
    }

    /// The workload of this name: this node's while discovery does not know it, so that a namesake
    /// of another cluster does not stand in; else of several HBONE before TCP, then the first by uid.
    #[must_use]
    pub fn workload_by_name(
        &self,
        namespace: &str,
        name: &str,
        service_account: &str,
    ) -> Option<&Arc<Workload>> {
        let [local, mesh] = [&self.local, &self.mesh]
            .map(|index| index.workload_by_name(namespace, name, service_account));
        local.or(mesh)
    }

    /// A workload that is reached by this hostname.
    #[must_use]
    pub fn workload_by_hostname(&self, hostname: &str) -> Option<&Arc<Workload>> {
        self.mesh.workload_by_hostname(hostname)
    }

    /// The service a client of `client_namespace` means by an address: an exact VIP before a
    /// block, then the client's own namespace, the longer block, the canonical one, the first.
    #[must_use]
    pub fn service_by_vip(
        &self,
        network: &str,
        ip: IpAddr,
        client_namespace: &str,
    ) -> Option<&Arc<Service>> {
        self.mesh.services.by_vip(network, ip, client_namespace)
    }

    /// The service a client of `client_namespace` means by a hostname (case does not matter):
    /// its own namespace's, the canonical one, the first.
    #[must_use]
    pub fn service_by_host(&self, hostname: &str, client_namespace: &str) -> Option<&Arc<Service>> {
        self.mesh.services.by_host(hostname, client_namespace)
    }

    /// The service with this key.
    #[must_use]
    pub fn service_by_key(&self, key: &ServiceKey) -> Option<&Arc<Service>> {
        self.mesh.services.by_key(key)
    }

    /// The endpoints of a service, unhealthy ones included.
    pub fn endpoints(&self, key: &ServiceKey) -> impl Iterator<Item = &Endpoint> + Clone {
        self.mesh
            .endpoints(key)
            .iter()
            .chain(self.local.endpoints(key))
    }

    /// The policy with this key.
    #[must_use]
    pub fn policy(&self, key: &PolicyKey) -> Option<&Arc<Policy>> {
        self.mesh.policies.by_key(key)
    }

    /// Every policy that applies to a workload: global ones, its namespace's, and those it names.
    /// A name without a policy is answered by the name, for the caller to refuse with.
    pub fn policies_for<'a>(
        &'a self,
        workload: &'a Workload,
    ) -> impl Iterator<Item = Result<&'a Arc<Policy>, &'a PolicyKey>> + Clone {
        let named = workload.authorization_policies.iter();
        let by_scope = self.mesh.policies.by_scope(&workload.namespace);
        by_scope
            .map(Ok)
            .chain(named.map(|key| self.policy(key).ok_or(key)))
    }

    /// Every workload by uid, discovery's first. Puts them in order, which takes a while.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        let (mesh, local) = (self.mesh.workloads(), self.local.workloads());
        mesh.into_iter().chain(local)
    }

    /// Every service.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.mesh.services.all().iter()
    }

    /// Every policy.
    pub fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        self.mesh.policies.all().iter()
    }
}
