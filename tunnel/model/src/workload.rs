use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::{GatewayAddress, Identity, PolicyKey, ServiceKey};

/// How a workload takes traffic from the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Protocol {
    /// In clear.
    #[default]
    Tcp,
    /// Through HBONE tunnels.
    Hbone,
}

impl Protocol {
    /// The name in documents and dumps.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Hbone => "HBONE",
        }
    }
}

/// Whether a workload may be chosen as an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// It may.
    #[default]
    Healthy,
    /// Only for services that ask for unhealthy ones too.
    Unhealthy,
}

/// Whose addresses a workload uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NetworkMode {
    /// Its own.
    #[default]
    Standard,
    /// Its node's: the address says nothing about who it is.
    HostNetwork,
}

/// What kind of object made the workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WorkloadType {
    /// A deployment.
    #[default]
    Deployment,
    /// A cron job.
    CronJob,
    /// A bare pod.
    Pod,
    /// A job.
    Job,
}

impl WorkloadType {
    /// The name in documents and dumps.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::CronJob => "cronjob",
            Self::Pod => "pod",
            Self::Job => "job",
        }
    }
}

/// Where a workload runs, for load balancing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Locality {
    /// The region.
    pub region: Arc<str>,
    /// The zone.
    pub zone: Arc<str>,
    /// The part of the zone.
    pub subzone: Arc<str>,
}

/// How a proxy inside the workload's own pod wants to be handed streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TunnelProxying {
    /// Bytes as they are.
    None,
    /// With a PROXY protocol header in front.
    Proxy,
}

/// A proxy inside the workload's pod that takes streams for any destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApplicationTunnel {
    /// What goes in front of the bytes.
    pub proxying: TunnelProxying,
    /// The port it listens on, if not the one the stream asks for.
    pub port: Option<u16>,
}

/// Which port of an endpoint serves which port of a service; shared by equal endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct PortMap(Arc<[(u16, u16)]>);

impl PortMap {
    /// Takes (service port, target port) pairs.
    pub fn new(pairs: impl IntoIterator<Item = (u16, u16)>) -> Self {
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_unstable();
        Self(pairs.into())
    }

    /// The endpoint's port for a port of the service.
    #[must_use]
    pub fn target(&self, service_port: u16) -> Option<u16> {
        let found = self
            .0
            .binary_search_by_key(&service_port, |pair| pair.0)
            .ok()?;
        self.0.get(found).map(|pair| pair.1)
    }

    /// All (service port, target port) pairs, by service port.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        self.0.iter().copied()
    }
}

/// The services a workload is an endpoint of, with the ports it serves of each; clones share it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ServicePorts(Arc<[(ServiceKey, PortMap)]>);

impl ServicePorts {
    /// Takes the services with their ports.
    pub fn new(services: impl IntoIterator<Item = (ServiceKey, PortMap)>) -> Self {
        let mut services: Vec<_> = services.into_iter().collect();
        services.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Self(services.into())
    }

    /// The ports served of one service.
    #[must_use]
    pub fn get(&self, service: &ServiceKey) -> Option<&PortMap> {
        let found = self.0.binary_search_by(|entry| entry.0.cmp(service)).ok()?;
        self.0.get(found).map(|entry| &entry.1)
    }

    /// All services with their ports, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&ServiceKey, &PortMap)> {
        self.0.iter().map(|(service, ports)| (service, ports))
    }

    /// Whether there are other clones.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether it serves none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Something that sends and takes traffic: usually a pod.
///
/// There may be very many, most of them replicas of others, so what replicas have in common is there
/// once: it is read as if it were here, and a workload that is changed gets its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The primary key.
    pub uid: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// The node it runs on.
    pub node: Arc<str>,
    /// Whether it may be chosen as an endpoint.
    pub health: Health,
    /// The rest.
    pub traits: Arc<WorkloadTraits>,
}

/// What replicas of a workload have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkloadTraits {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Whom its certificate must name.
    pub identity: Identity,
    /// A name to resolve when it has no address.
    pub hostname: Arc<str>,
    /// The network its addresses are on.
    pub network: Arc<str>,
    /// How it takes traffic.
    pub protocol: Protocol,
    /// Whether its application speaks HBONE by itself.
    pub native_tunnel: bool,
    /// A proxy in its pod that takes streams for any destination.
    pub application_tunnel: Option<ApplicationTunnel>,
    /// Where traffic addressed to it must go first.
    pub waypoint: Option<GatewayAddress>,
    /// How its network is entered from another.
    pub network_gateway: Option<GatewayAddress>,
    /// The cluster it runs in.
    pub cluster_id: Arc<str>,
    /// Where it runs.
    pub locality: Locality,
    /// The name of the object that made it.
    pub workload_name: Arc<str>,
    /// The kind of that object.
    pub workload_type: WorkloadType,
    /// The application's name, for telemetry.
    pub canonical_name: Arc<str>,
    /// The application's revision, for telemetry.
    pub canonical_revision: Arc<str>,
    /// The services it is an endpoint of.
    pub services: ServicePorts,
    /// The policies attached to it by name.
    pub authorization_policies: Vec<PolicyKey>,
    /// Whose addresses it uses.
    pub network_mode: NetworkMode,
    /// Its weight among the endpoints of a service.
    pub capacity: u32,
}

impl Deref for Workload {
    type Target = WorkloadTraits;

    fn deref(&self) -> &WorkloadTraits {
        &self.traits
    }
}

impl DerefMut for Workload {
    fn deref_mut(&mut self) -> &mut WorkloadTraits {
        Arc::make_mut(&mut self.traits)
    }
}

impl Workload {
    /// The cluster of a workload that does not name one.
    pub const DEFAULT_CLUSTER: &str = "Kubernetes";

    /// A workload with defaults for everything but its names and addresses; its namespace is the
    /// identity's.
    #[must_use]
    pub fn new(uid: &str, name: &str, identity: Identity, ips: Vec<IpAddr>) -> Self {
        Self {
            uid: uid.into(),
            name: name.into(),
            ips,
            node: "".into(),
            health: Health::Healthy,
            traits: Arc::new(WorkloadTraits::of(identity)),
        }
    }

    /// Whom its certificate must name.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        self.identity.service_account()
    }

    /// Its trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.identity.trust_domain()
    }

    /// Whether one of its addresses is `ip`.
    #[must_use]
    pub fn has_ip(&self, ip: IpAddr) -> bool {
        self.ips.contains(&ip)
    }
}

impl WorkloadTraits {
    /// Defaults for everything but the identity, whose namespace it is.
    fn of(identity: Identity) -> Self {
        let none: Arc<str> = "".into();
        Self {
            namespace: identity.namespace().into(),
            identity,
            hostname: Arc::clone(&none),
            network: Arc::clone(&none),
            protocol: Protocol::Tcp,
            native_tunnel: false,
            application_tunnel: None,
            waypoint: None,
            network_gateway: None,
            cluster_id: Workload::DEFAULT_CLUSTER.into(),
            locality: Locality::default(),
            workload_name: Arc::clone(&none),
            workload_type: WorkloadType::Deployment,
            canonical_name: Arc::clone(&none),
            canonical_revision: none,
            services: ServicePorts::default(),
            authorization_policies: Vec::new(),
            network_mode: NetworkMode::Standard,
            capacity: 1,
        }
    }
}
