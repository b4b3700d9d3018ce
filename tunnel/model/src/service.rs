//! Services: names and virtual addresses in front of workloads.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnetwork::IpNetwork;

use crate::identity::Identity;

/// `namespace/hostname` of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Full host name.
    pub hostname: Arc<str>,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.hostname)
    }
}

/// An address of a network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkAddress {
    /// The network; empty is the mesh's default one.
    pub network: Arc<str>,
    /// The address.
    pub ip: IpAddr,
}

/// A range of addresses of a network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetworkRange {
    /// The network.
    pub network: Arc<str>,
    /// The range.
    pub range: IpNetwork,
}

/// Where a waypoint or a gateway is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GatewayAddress {
    /// The place.
    pub destination: GatewayDestination,
    /// Its HBONE port.
    pub hbone_mtls_port: u16,
}

/// A gateway by name or by address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GatewayDestination {
    /// A service by name.
    Hostname(ServiceKey),
    /// A service or workload by address.
    Address(NetworkAddress),
}

/// One property that routing may prefer to be equal on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Same region.
    Region,
    /// Same zone.
    Zone,
    /// Same subzone.
    Subzone,
    /// Same node.
    Node,
    /// Same cluster.
    Cluster,
    /// Same network.
    Network,
}

/// How endpoints are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LoadBalancerMode {
    /// Any endpoint, by weight.
    #[default]
    Standard,
    /// Only endpoints that match every scope.
    Strict,
    /// The endpoints that match the longest prefix of scopes.
    Failover,
    /// No endpoint: the original destination.
    Passthrough,
}

/// Load balancing of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadBalancer {
    /// The mode.
    pub mode: LoadBalancerMode,
    /// Scopes in order of preference.
    pub routing_preferences: Vec<Scope>,
    /// Whether unhealthy endpoints are used too.
    pub allow_unhealthy: bool,
}

/// Address families a service offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IpFamilies {
    /// Not restricted.
    #[default]
    Automatic,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// Both.
    Dual,
}

/// One service of the mesh (`istio.workload.Service`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Short name.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Full host name.
    pub hostname: Arc<str>,
    /// Virtual addresses.
    pub vips: Vec<NetworkAddress>,
    /// Virtual ranges.
    pub cidr_vips: Vec<NetworkRange>,
    /// Service port → target port; target 0 is looked up at each endpoint.
    pub ports: HashMap<u16, u16>,
    /// Identities accepted of its endpoints besides their own.
    pub subject_alt_names: Vec<Identity>,
    /// The waypoint in front of it, if any.
    pub waypoint: Option<GatewayAddress>,
    /// Load balancing.
    pub load_balancer: LoadBalancer,
    /// Address families.
    pub ip_families: IpFamilies,
    /// Whether this one wins over services of the same host name.
    pub canonical: bool,
    /// Whether only its own namespace sees it.
    pub namespace_private: bool,
}

impl Service {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> ServiceKey {
        ServiceKey {
            namespace: Arc::clone(&self.namespace),
            hostname: Arc::clone(&self.hostname),
        }
    }
}

impl Default for ServiceKey {
    fn default() -> Self {
        Self {
            namespace: Arc::from(""),
            hostname: Arc::from(""),
        }
    }
}
