use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use tunnel_model::{IpNetwork, Workload};

/// Which addresses may be a pod's: of such a one that the mesh does not know it is asked who is
/// there, before anything is sent there in clear.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PodRange {
    /// Nobody knows: whatever is not routed on the internet.
    #[default]
    Private,
    /// The operator knows: these.
    Blocks(Vec<IpNetwork>),
}

impl PodRange {
    /// Whether a pod may have this address.
    #[must_use]
    pub fn may_hold(&self, ip: IpAddr) -> bool {
        match (self, ip.to_canonical()) {
            (Self::Blocks(blocks), ip) => blocks.iter().any(|block| block.contains(ip)),
            (Self::Private, IpAddr::V4(ip)) => ip.is_private() || is_shared(ip),
            (Self::Private, IpAddr::V6(ip)) => ip.is_unique_local(),
        }
    }
}

/// 100.64.0.0/10 (RFC 6598), which clouds and carriers use as one more private block.
const fn is_shared(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0b1100_0000 == 64
}

/// Who is at an address that the mesh does not know.
#[derive(Debug, Clone)]
pub enum Occupant {
    /// No pod, or one that is not in the mesh.
    Outsider,
    /// This pod of the mesh, of which the control plane has not told yet.
    Member(Arc<Workload>),
    /// Nobody can tell.
    Unknown {
        /// Why not.
        why: Arc<str>,
    },
}
