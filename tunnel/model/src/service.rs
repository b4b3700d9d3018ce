use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use crate::{GatewayAddress, Identity, NetworkAddress, ServiceKey};

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BalancingMode {
    /// Any, by weight.
    #[default]
    Standard,
    /// Only those that match every scope.
    Strict,
    /// Those that match most scopes, in order.
    Failover,
    /// None: the connection goes where it was going.
    Passthrough,
}

/// What can be compared between a client and an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoutingScope {
    /// The region.
    Region,
    /// The zone.
    Zone,
    /// The part of the zone.
    Subzone,
    /// The node.
    Node,
    /// The cluster.
    Cluster,
    /// The network.
    Network,
}

/// Which endpoints may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HealthPolicy {
    /// The healthy ones.
    #[default]
    OnlyHealthy,
    /// All of them.
    AllowAll,
}

/// How a service spreads its connections.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LoadBalancing {
    /// How an endpoint is chosen.
    pub mode: BalancingMode,
    /// What it is compared by, most important first.
    pub routing_preferences: Vec<RoutingScope>,
    /// Which endpoints may be chosen.
    pub health_policy: HealthPolicy,
}

/// Which address families a service uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IpFamilies {
    /// Whatever its endpoints have.
    #[default]
    Automatic,
    /// Only IPv4.
    Ipv4Only,
    /// Only IPv6.
    Ipv6Only,
    /// Both.
    Dual,
}

impl IpFamilies {
    /// Whether addresses of the family of `ip` may be used.
    #[must_use]
    pub fn accepts(self, ip: IpAddr) -> bool {
        match self {
            Self::Automatic | Self::Dual => true,
            Self::Ipv4Only => ip.is_ipv4(),
            Self::Ipv6Only => ip.is_ipv6(),
        }
    }
}

/// Who can see a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Visibility {
    /// Everybody.
    #[default]
    Public,
    /// Clients of its own namespace.
    Namespace,
}

/// A port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServicePort {
    /// The port clients use.
    pub port: u16,
    /// The port of its endpoints; 0 when each endpoint maps it by itself.
    pub target: u16,
}

/// One of several waypoints among which connections are spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightedWaypoint {
    /// The waypoint.
    pub waypoint: GatewayAddress,
    /// Its share.
    pub weight: u32,
}

/// A name and addresses behind which endpoints stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its full hostname.
    pub hostname: Arc<str>,
    /// Its addresses.
    pub vips: Vec<NetworkAddress>,
    /// Blocks of addresses, each with its network, that are all its own.
    pub cidr_vips: Vec<(Arc<str>, IpNetwork)>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Identities its endpoints may show beside their own.
    pub subject_alt_names: Vec<Identity>,
    /// Where traffic addressed to it must go first.
    pub waypoint: Option<GatewayAddress>,
    /// Several such places, with shares.
    pub weighted_waypoints: Vec<WeightedWaypoint>,
    /// How connections are spread over its endpoints.
    pub load_balancing: LoadBalancing,
    /// Which address families it uses.
    pub ip_families: IpFamilies,
    /// Whether it is preferred among services of the same address or hostname.
    pub canonical: bool,
    /// Who can see it.
    pub visibility: Visibility,
}

impl Service {
    /// A service with a name and nothing else.
    #[must_use]
    pub fn new(name: &str, namespace: &str, hostname: &str) -> Self {
        Self {
            name: name.into(),
            namespace: namespace.into(),
            hostname: hostname.into(),
            vips: Vec::new(),
            cidr_vips: Vec::new(),
            ports: Vec::new(),
            subject_alt_names: Vec::new(),
            waypoint: None,
            weighted_waypoints: Vec::new(),
            load_balancing: LoadBalancing::default(),
            ip_families: IpFamilies::Automatic,
            canonical: false,
            visibility: Visibility::Public,
        }
    }

    /// What names it.
    #[must_use]
    pub fn key(&self) -> ServiceKey {
        ServiceKey::new(Arc::clone(&self.namespace), Arc::clone(&self.hostname))
    }

    /// The target port it gives for a port of its own; `Some(0)` when each endpoint maps it.
    #[must_use]
    pub fn target(&self, port: u16) -> Option<u16> {
        self.ports.iter().find(|p| p.port == port).map(|p| p.target)
    }

    /// Whether clients of `namespace` can see it.
    #[must_use]
    pub fn visible_to(&self, namespace: &str) -> bool {
        self.visibility == Visibility::Public || *self.namespace == *namespace
    }

    /// Whether traffic addressed to it must go through a waypoint.
    #[must_use]
    pub fn has_waypoint(&self) -> bool {
        self.waypoint.is_some() || !self.weighted_waypoints.is_empty()
    }
}
