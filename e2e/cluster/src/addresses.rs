//! Who has which address. Clusters do not see each other, so all use the same.

use std::net::Ipv4Addr;

/// The control plane's.
pub(crate) const CONTROL: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);
/// All machines'.
pub(crate) const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 255);
/// Where services' addresses come from.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// The API server's, as pods know it: the first of them.
pub(crate) const API_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// The name server's, as pods know it.
pub(crate) const DNS_SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// All pods' of all nodes.
pub(crate) const PODS: &str = "10.200.0.0/16";

/// Where a node is, by its number (1, 2, ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) u8);

impl Place {
    /// The node's own address.
    pub(crate) fn node(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 10, 0, 10 + self.0)
    }

    /// The network of its pods.
    pub(crate) fn pods(self) -> String {
        format!("10.200.{}.0/24", self.0)
    }
}
