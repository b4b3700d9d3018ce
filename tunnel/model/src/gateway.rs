use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::ServiceKey;

/// An address on a named network.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkAddress {
    /// The network; empty for a mesh of one network.
    pub network: Arc<str>,
    /// The address there.
    pub ip: IpAddr,
}

impl fmt::Display for NetworkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.ip)
    }
}

/// Where a waypoint or a network gateway is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum GatewayDestination {
    /// By address: a service's or a workload's.
    Address(NetworkAddress),
    /// By name: a service's, or a workload's hostname.
    Hostname(ServiceKey),
}

impl fmt::Display for GatewayDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Hostname(key) => key.fmt(f),
        }
    }
}

/// A waypoint or network gateway: where it is, and its port for tunnels.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GatewayAddress {
    /// Where it is found.
    pub destination: GatewayDestination,
    /// The port on which it takes HBONE, 15008 unless said otherwise.
    pub hbone_port: u16,
}
