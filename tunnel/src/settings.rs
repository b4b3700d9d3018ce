//! What a tunnel is started with.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use tunnel_credentials::Credentials;
use tunnel_discovery::MeshReader;
use tunnel_hbone::Limits;
use tunnel_sockets::Sockets;
use tunnel_telemetry::Telemetry;

use crate::occupants::Occupants;

/// Settings of the data plane.
#[derive(Clone, Debug)]
pub struct TunnelSettings {
    /// Threads that move the bytes of one pod. There are more for all pods: those of a pod are shared with as few others as
    /// possible.
    pub threads: usize,
    /// The network of this node.
    pub network: Arc<str>,
    /// Whether listeners accept IPv6 too.
    pub ipv6: bool,
    /// Bounds of tunnels.
    pub limits: Limits,
    /// Connections a pod may have open on one thread, of each kind (made, plaintext, tunnels from
    /// peers, connections in them); more wait to be accepted.
    pub max_connections: usize,
    /// Tunnel handshakes under way for a pod on one thread; beyond, the oldest gives way.
    pub max_handshakes: usize,
    /// Sockets made ahead with one request, for a busy pod on one thread; 0 makes each when it is
    /// needed. Those in stock hold descriptors.
    pub socket_stock: usize,
    /// What happens to who calls a pod of which discovery has not told.
    pub untold: Untold,
    /// How long a connection waits for the pod's own workload to be known.
    pub workload_wait: Duration,
    /// How long a connection is held for want of a certificate before it is refused.
    pub certificate_hold: Duration,
}

impl Default for TunnelSettings {
    fn default() -> Self {
        Self {
            threads: default_threads(),
            network: Arc::from(""),
            ipv6: true,
            limits: Limits::default(),
            max_connections: 20_000,
            max_handshakes: 512,
            socket_stock: 64,
            untold: Untold::Refused,
            workload_wait: Duration::from_secs(5),
            certificate_hold: Duration::from_secs(60),
        }
    }
}

/// What happens to who calls a pod of this node of which discovery has not told, so that it is not
/// known which policies select it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untold {
    /// Whoever says what the mesh looks like is expected to know better: they are refused.
    Refused,
    /// It may be away: they are judged by all policies that may select the pod.
    Judged {
        /// The namespace whose policies may select pods of every namespace.
        root_namespace: Arc<str>,
    },
}

/// Half the processors, at least one: the rest is for the pods whose traffic this is. And four at most: no pod takes more
/// of a large node by itself.
fn default_threads() -> usize {
    processors().div_ceil(2).min(4)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

impl TunnelSettings {
    /// Threads for all pods. One that takes all the time of its own leaves the others theirs; half the processors can be
    /// busy.
    pub(crate) fn threads_in_all(&self) -> usize {
        (16 * self.threads).max(32).max(processors() / 2)
    }
}

/// What the data plane works with and does not own.
#[derive(Clone)]
pub struct Parts {
    /// The mesh.
    pub mesh: MeshReader,
    /// Certificates.
    pub credentials: Credentials,
    /// Log and metrics.
    pub telemetry: Telemetry,
    /// Pods' namespaces.
    pub sockets: Sockets,
    /// Who tells of addresses that the mesh does not know; none if nobody does.
    pub occupants: Option<Occupants>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}
