//! Pods and others on one wire.

use crate::netns::{self, Netns};
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU8, Ordering};
use tempfile::TempDir;

/// One wire, a scratch directory, and the key pair of a development authority.
#[derive(Debug)]
pub struct World {
    switch: Netns,
    directory: TempDir,
    members: AtomicU8,
}

/// A network namespace on the wire with an address of each family.
#[derive(Debug)]
pub struct Pod {
    /// Its name, which is also the name of its service account.
    pub name: String,
    /// Its namespace in the mesh.
    pub namespace: String,
    /// Its network namespace.
    pub netns: Netns,
    /// Its address.
    pub ipv4: Ipv4Addr,
    /// Its other address.
    pub ipv6: Ipv6Addr,
}

impl World {
    /// Makes the wire.
    ///
    /// # Errors
    /// Something cannot be made; usually for want of root.
    pub fn new() -> Result<Self> {
        static SWEPT: Once = Once::new();
        let mut swept = Ok(());
        SWEPT.call_once(|| swept = netns::sweep());
        swept.context("removing what a dead test left behind")?;
        let world = Self {
            switch: Netns::create("wire")?,
            directory: tempfile::Builder::new().prefix("ame").tempdir()?,
            members: AtomicU8::new(2),
        };
        let switch = &world.switch;
        switch.ip(&["link", "add", "br0", "type", "bridge", "forward_delay", "0"])?;
        switch.ip(&["addr", "add", "10.77.0.1/24", "dev", "br0"])?;
        switch.ip(&["addr", "add", "fd77::1/64", "dev", "br0", "nodad"])?;
        switch.ip(&["link", "set", "br0", "up"])?;
        let authority = (world.ca_certificate(), world.ca_key());
        tunnel_credentials::DevelopmentCa::create(&authority.0, &authority.1)?;
        Ok(world)
    }

    /// Puts a pod on the wire; it is not in the mesh yet.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn pod(&self, namespace: &str, name: &str) -> Result<Pod> {
        let netns = Netns::create(name)?;
        let (ipv4, ipv6) = self.join(&netns)?;
        Ok(Pod {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            netns,
            ipv4,
            ipv6,
        })
    }

    /// Puts a namespace on the wire; its addresses there.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn join(&self, netns: &Netns) -> Result<(Ipv4Addr, Ipv6Addr)> {
        let number = self.members.fetch_add(1, Ordering::Relaxed);
        let port = format!("port{number}");
        self.switch.ip(&[
            "link",
            "add",
            &port,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            netns.name(),
        ])?;
        self.switch
            .ip(&["link", "set", &port, "master", "br0", "up"])?;
        let ipv4 = Ipv4Addr::new(10, 77, 0, number);
        let ipv6 = Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number.into());
        netns.ip(&["addr", "add", &format!("{ipv4}/24"), "dev", "eth0"])?;
        netns.ip(&["addr", "add", &format!("{ipv6}/64"), "dev", "eth0", "nodad"])?;
        netns.ip(&["link", "set", "eth0", "up"])?;
        netns.ip(&["route", "add", "default", "via", "10.77.0.1"])?;
        netns.ip(&["-6", "route", "add", "default", "via", "fd77::1"])?;
        Ok((ipv4, ipv6))
    }

    /// The wire's own namespace, where all packets can be seen.
    #[must_use]
    pub fn switch(&self) -> &Netns {
        &self.switch
    }

    /// Scratch files; short, as paths of Unix sockets are bounded.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca_certificate(&self) -> PathBuf {
        self.directory().join("ca.pem")
    }

    /// The authority's key.
    #[must_use]
    pub fn ca_key(&self) -> PathBuf {
        self.directory().join("ca.key")
    }
}

impl Pod {
    /// Both addresses.
    #[must_use]
    pub fn ips(&self) -> [IpAddr; 2] {
        [self.ipv4.into(), self.ipv6.into()]
    }

    /// A port at its IPv4 address.
    #[must_use]
    pub fn at(&self, port: u16) -> SocketAddr {
        (self.ipv4, port).into()
    }

    /// A port at its IPv6 address.
    #[must_use]
    pub fn at6(&self, port: u16) -> SocketAddr {
        (self.ipv6, port).into()
    }

    /// Its identity, which the development authority signs.
    #[must_use]
    pub fn spiffe(&self) -> String {
        spiffe(&self.namespace, &self.name)
    }

    /// The container's id, as a runtime would have given it.
    #[must_use]
    pub fn container(&self) -> String {
        format!("container-{}-{}", self.namespace, self.name)
    }

    /// The rules in it, both families and both back-ends, chains and all.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn rules(&self) -> Result<String> {
        let mut all = String::new();
        for tool in [
            "iptables-save",
            "ip6tables-save",
            "iptables-legacy-save",
            "ip6tables-legacy-save",
        ] {
            let Ok(program) = e2e_netlab::find_program(tool) else {
                continue;
            };
            all += &e2e_netlab::run(&mut self.netns.command(program)?)?;
        }
        Ok(all)
    }

    /// Whether anything of ours is in its rules, policy routing included.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn has_our_rules(&self) -> Result<bool> {
        let routing = self.netns.ip(&["rule"])? + &self.netns.ip(&["-6", "rule"])?;
        Ok(self.rules()?.contains("ISTIO_") || routing.contains("fwmark"))
    }

    /// The mesh's ports that something listens on.
    ///
    /// # Errors
    /// The kernel's list cannot be read.
    pub fn listeners(&self) -> Result<Vec<u16>> {
        self.netns.run(mesh_listeners)?
    }
}

impl Pod {
    /// Sockets in it, of whatever process and state, that the kernel counts.
    ///
    /// # Errors
    /// The kernel's count cannot be read.
    pub fn sockets(&self) -> Result<usize> {
        let text = self
            .netns
            .run(|| std::fs::read_to_string("/proc/thread-self/net/sockstat"))??;
        let used = text
            .lines()
            .find_map(|line| line.strip_prefix("sockets: used "));
        Ok(used.context("no count of sockets")?.trim().parse()?)
    }
}

impl Pod {
    /// Tunnels that it has to peers, as the kernel sees them.
    ///
    /// # Errors
    /// The kernel's list cannot be read.
    pub fn tunnels(&self) -> Result<usize> {
        let read = |file| std::fs::read_to_string(file).context(file);
        let tables = self.netns.run(|| {
            let table = read("/proc/thread-self/net/tcp")?;
            anyhow::Ok(table + &read("/proc/thread-self/net/tcp6")?)
        })??;
        Ok(tables.lines().filter(|line| is_tunnel(line)).count())
    }
}

/// Whether a line of `/proc/net/tcp` is an open connection to a peer's tunnel.
fn is_tunnel(line: &str) -> bool {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, _, remote, "01", ..] = fields[..] else {
        return false;
    };
    let port = remote.rsplit_once(':').map(|(_, port)| port);
    port.and_then(|port| u16::from_str_radix(port, 16).ok()) == Some(15008)
}

/// The mesh's ports that something listens on in the namespace of this thread.
pub(crate) fn mesh_listeners() -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    for file in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        let table = std::fs::read_to_string(file).context(file)?;
        ports.extend(table.lines().filter_map(listening_port));
    }
    ports.retain(|port| [15001, 15006, 15008].contains(port));
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

/// The local port of a line of `/proc/net/tcp` in state LISTEN.
fn listening_port(line: &str) -> Option<u16> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    if fields.nth(1)? != "0A" {
        return None;
    }
    u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()
}

/// The identity of a service account.
#[must_use]
pub fn spiffe(namespace: &str, service_account: &str) -> String {
    format!("spiffe://cluster.local/ns/{namespace}/sa/{service_account}")
}
