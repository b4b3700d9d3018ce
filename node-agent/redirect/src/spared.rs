//! Which of a pod's open connections are to be spared when capture begins, and which are served by
//! the tunnel.

use std::collections::HashSet;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::plan::{Family, marks, ports};

/// So many connections a plan spares at most: each is a rule that new connections are compared
/// with.
pub const MAX_SPARED: usize = 4096;

/// A connection that was open before capture began.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Spared {
    /// The pod's end.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

impl Spared {
    /// The address family, if both ends are of one.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        match (self.local, self.remote) {
            (SocketAddr::V4(_), SocketAddr::V4(_)) => Some(Family::V4),
            (SocketAddr::V6(_), SocketAddr::V6(_)) => Some(Family::V6),
            _ => None,
        }
    }
}

impl fmt::Display for Spared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.local, self.remote)
    }
}

/// One end of a TCP connection in a pod's namespace, half-open ones included.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Its own address.
    pub local: SocketAddr,
    /// The other end's.
    pub remote: SocketAddr,
    /// The mark of its socket.
    pub mark: u32,
    /// Who has it.
    pub owner: Owner,
}

/// Who has a connection.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// A process, or the queue of one that listens, or the kernel with bytes to deliver.
    Somebody,
    /// Only the kernel, which has delivered all and waits for the other end to close.
    Nobody,
}

impl Connection {
    /// Whether the tunnel made or accepted it.
    fn is_the_tunnels(&self) -> bool {
        let port = self.local.port();
        self.mark & marks::MASK == marks::TUNNEL
            || [
                ports::OUTBOUND,
                ports::INBOUND_PLAINTEXT,
                ports::INBOUND_HBONE,
            ]
            .contains(&port)
    }

    fn is_loopback(&self) -> bool {
        self.local.ip().is_loopback() || self.remote.ip().is_loopback()
    }
}

/// The connections of the pod's own that leave or enter it past the tunnel, in order.
#[must_use]
pub fn to_spare(all: &[Connection]) -> Vec<Spared> {
    let tunnels = || all.iter().filter(|one| one.is_the_tunnels());
    // The tunnel's end of what the pod dialled has the pod's end for its remote; the pod does not
    // see the difference.
    let dialled: HashSet<SocketAddr> = tunnels()
        .filter(|own| own.local.port() == ports::OUTBOUND)
        .map(|own| own.remote)
        .collect();
    // Towards the application the tunnel takes the client's address.
    let answered: HashSet<(SocketAddr, SocketAddr)> =
        tunnels().map(|own| (own.remote, own.local)).collect();
    let mut spared: Vec<Spared> = all
        .iter()
        .filter(|one| !one.is_the_tunnels() && !one.is_loopback())
        .filter(|one| !dialled.contains(&one.local))
        .filter(|one| !answered.contains(&(one.local, one.remote)))
        .map(|one| Spared {
            local: one.local,
            remote: one.remote,
        })
        .collect();
    spared.sort_unstable();
    spared.dedup();
    spared
}

/// How many connections of a namespace the tunnel has a part in. What a process left behind that
/// was killed does not count: nobody serves it any more.
#[must_use]
pub fn served(all: &[Connection]) -> usize {
    let has_owner = |one: &&Connection| one.owner == Owner::Somebody;
    let tunnels = all.iter().filter(|one| one.is_the_tunnels());
    tunnels.filter(has_owner).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn connection(local: &str, remote: &str, mark: u32) -> Connection {
        Connection {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            mark,
            owner: Owner::Somebody,
        }
    }

    fn told(all: &[Connection]) -> Vec<String> {
        to_spare(all).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_pods_own_connections_are_spared_and_captured_ones_are_not() {
        let pod_dials = connection("10.0.0.7:40000", "10.0.0.9:80", 0);
        let pod_answers = connection("[fd00::7]:80", "[fd00::9]:50000", 0x1000);
        assert_eq!(
            told(&[pod_answers, pod_dials, pod_dials]),
            [
                "10.0.0.7:40000 to 10.0.0.9:80",
                "[fd00::7]:80 to [fd00::9]:50000"
            ]
        );
        let cases = [
            (
                pod_dials,
                connection("127.0.0.1:15001", "10.0.0.7:40000", 0),
            ),
            (
                pod_answers,
                connection("[fd00::9]:50000", "[fd00::7]:80", 0x1539),
            ),
        ];
        for (pods, tunnels) in cases {
            assert_eq!(told(&[pods, tunnels]), [""; 0], "{pods:?}");
            // The tunnel's end of another connection proves nothing.
            let other = Connection {
                remote: "10.0.0.7:40001".parse().unwrap(),
                ..tunnels
            };
            assert_eq!(told(&[pods, other]).len(), 1, "{pods:?}");
        }
    }

    #[test]
    fn the_tunnels_own_and_loopback_connections_are_not_spared() {
        let none = [
            connection("10.0.0.7:15008", "10.0.0.9:50000", 0),
            connection("10.0.0.7:15006", "10.0.0.9:50000", 0),
            connection("10.0.0.7:40000", "10.0.0.9:15008", 0x539),
            connection("127.0.0.1:40000", "127.0.0.1:80", 0),
            connection("[::1]:40000", "[::1]:80", 0),
        ];
        assert_eq!(told(&none), [""; 0]);
        assert_eq!(served(&none), 3);
        let left = none.map(|one| Connection {
            owner: Owner::Nobody,
            ..one
        });
        assert_eq!(served(&left), 0);
        // A peer's port alone does not make a connection the tunnel's.
        let foreign = connection("10.0.0.7:40000", "10.0.0.9:15008", 0);
        assert_eq!((told(&[foreign]).len(), served(&[foreign])), (1, 0));
    }
}
