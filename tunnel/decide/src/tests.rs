#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod authority;
mod balance;
mod inbound;
mod occupant;
mod outbound;
mod policy;
mod standing;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tunnel_model::{
    GatewayAddress, GatewayDestination, Identity, NetworkAddress, PolicyKey, PortMap, Protocol,
    Service, ServiceKey, ServicePort, ServicePorts, Snapshot, SnapshotBuilder, Workload,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn identity(account: &str) -> Identity {
    Identity::new("td", "ns", account).unwrap()
}

/// A workload that takes tunnels, with its name as service account.
fn hbone(name: &str, ips: &[&str]) -> Workload {
    let ips = ips.iter().map(|text| ip(text)).collect();
    let mut made = Workload::new(name, name, identity(name), ips);
    made.protocol = Protocol::Hbone;
    made
}

fn tcp(name: &str, ips: &[&str]) -> Workload {
    with(hbone(name, ips), |workload| {
        workload.protocol = Protocol::Tcp;
    })
}

/// The same workload with something changed.
fn with(mut workload: Workload, change: impl FnOnce(&mut Workload)) -> Workload {
    change(&mut workload);
    workload
}

/// A workload that serves ports of services of its namespace.
fn serving(mut workload: Workload, services: &[(&str, &[(u16, u16)])]) -> Workload {
    let pairs = services.iter().map(|(host, ports)| {
        (
            ServiceKey::new("ns", *host),
            PortMap::new(ports.iter().copied()),
        )
    });
    workload.services = ServicePorts::new(pairs);
    workload
}

fn service(host: &str, vips: &[&str], ports: &[(u16, u16)]) -> Service {
    let mut made = Service::new(host, "ns", host);
    made.vips = vips
        .iter()
        .map(|vip| NetworkAddress {
            network: "".into(),
            ip: ip(vip),
        })
        .collect();
    made.ports = ports
        .iter()
        .map(|(port, target)| ServicePort {
            port: *port,
            target: *target,
        })
        .collect();
    made
}

fn gateway_at(address: &str, port: u16) -> GatewayAddress {
    let address = NetworkAddress {
        network: "".into(),
        ip: ip(address),
    };
    GatewayAddress {
        destination: GatewayDestination::Address(address),
        hbone_port: port,
    }
}

fn gateway_named(host: &str) -> GatewayAddress {
    let key = ServiceKey::new("ns", host);
    GatewayAddress {
        destination: GatewayDestination::Hostname(key),
        hbone_port: 15008,
    }
}

fn key(name: &str) -> PolicyKey {
    PolicyKey::new("ns", name)
}

#[derive(Default)]
struct Mesh(SnapshotBuilder);

impl Mesh {
    fn workload(mut self, workload: Workload) -> Self {
        self.0.add_workload(workload);
        self
    }

    fn service(mut self, service: Service) -> Self {
        self.0.add_service(service);
        self
    }

    fn policy(mut self, policy: tunnel_model::Policy) -> Self {
        self.0.add_policy(policy);
        self
    }

    fn build(self) -> Snapshot {
        self.0.build(1)
    }
}

fn own(snapshot: &Snapshot, uid: &str) -> Arc<Workload> {
    Arc::clone(snapshot.workload_by_uid(uid).unwrap())
}
