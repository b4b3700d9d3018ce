//! Addresses, links and routes: a switch namespace with a bridge, and a wire from it to each node.

use crate::command::{ip_batch, program, run};
use crate::netns::Netns;
use anyhow::Result;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Where a node is, by its place in the lab (1, 2, ...). Labs do not see each other, so all use the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place(pub(crate) u8);

impl Place {
    /// The node's own IPv4 address.
    pub(crate) fn ipv4(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 90, 0, 10 + self.0)
    }

    /// The node's own IPv6 address.
    pub(crate) fn ipv6(self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0x90, 0, 0, 0, 0, 0, 0x10 + u16::from(self.0))
    }

    /// The IPv4 network of its pods.
    pub(crate) fn pods_ipv4(self) -> String {
        format!("10.91.{}.0/24", self.0)
    }

    /// The IPv6 network of its pods.
    pub(crate) fn pods_ipv6(self) -> String {
        format!("fd00:91:{:x}::/64", self.0)
    }
}

/// The switch's port towards a node.
pub(crate) fn port(node: &str) -> String {
    format!("to-{node}")
}

/// Makes the switch.
pub(crate) fn make_switch(name: &str) -> Result<Netns> {
    let switch = Netns::create(name)?;
    ip_batch(
        Some(name),
        "link add br0 type bridge forward_delay 0\nlink set br0 up\n",
    )?;
    // A switch forwards; it must not pass frames through a firewall (absent without the bridge module).
    for family in ["ip", "ip6"] {
        let key = format!("bridge/bridge-nf-call-{family}tables");
        if std::path::Path::new("/proc/sys/net").join(&key).exists() {
            switch.sysctl(&key, "0")?;
        }
    }
    Ok(switch)
}

/// Makes a node's namespace, its wire to the switch, its pod bridge and the routes to the other nodes' pods.
pub(crate) fn make_node(
    switch: &Netns,
    netns: &str,
    node: &str,
    place: Place,
    all: &[Place],
) -> Result<Netns> {
    let netns = Netns::create(netns)?;
    for (key, value) in [
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv6/conf/default/accept_dad", "0"),
    ] {
        netns.sysctl(key, value)?;
    }
    let port = port(node);
    run(program("ip")
        .args(["-n", switch.name(), "link", "add", &port, "type", "veth"])
        .args(["peer", "name", "eth0", "netns", netns.name()]))?;
    ip_batch(
        Some(switch.name()),
        &format!("link set {port} master br0\nlink set {port} up\n"),
    )?;
    ip_batch(Some(netns.name()), &node_script(place, all))?;
    Ok(netns)
}

fn node_script(place: Place, all: &[Place]) -> String {
    let mut script = format!(
        "addr add {}/24 dev eth0\naddr add {}/64 dev eth0 nodad\nlink set eth0 up\n\
         link add cni0 type bridge forward_delay 0\n\
         addr add 10.91.{n}.1/24 dev cni0\naddr add fd00:91:{n:x}::1/64 dev cni0 nodad\nlink set cni0 up\n",
        place.ipv4(),
        place.ipv6(),
        n = place.0,
    );
    for other in all.iter().filter(|other| other.0 != place.0) {
        let _ = write!(
            script,
            "route add {} via {}\nroute add {} via {}\n",
            other.pods_ipv4(),
            other.ipv4(),
            other.pods_ipv6(),
            other.ipv6(),
        );
    }
    script
}
