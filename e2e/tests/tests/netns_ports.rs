//! A client outside the mesh and the connections that the tunnel makes in its name: both begin at the same address, and must
//! not meet at the same port.
#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::Result;
use e2e_tests::app::{self, Kind, Server, connect, exchange};
use e2e_tests::mesh::Mesh;
use e2e_tests::{Agent, Call, Pod, World};
use serde_json::json;

/// Connections that stay.
const KEPT: usize = 30;
/// Connections that come and go meanwhile.
const NEW: usize = 60;
/// So few that whoever does not look meets somebody.
const PORTS: &str = "40000 40255";

fn few_ports(pod: &Pod) -> Result<()> {
    pod.netns.sysctl("ipv4/ip_local_port_range", PORTS)
}

#[test]
fn a_clients_own_ports_are_not_taken() {
    let world = World::new().unwrap();
    let server = world.pod(Mesh::NAMESPACE, "server").unwrap();
    let client = world.pod(Mesh::OUTSIDE, "client").unwrap();
    let mesh = Mesh::default().pod(&server).workload(&client, "TCP", &[]);
    let agent = Agent::start(&world, "node", &mesh, &json!({})).unwrap();
    Call::new("ADD", &server, &agent.socket())
        .succeed()
        .unwrap();
    let _app = Server::start(&server, 8080, Kind::Echo).unwrap();
    for pod in [&client, &server] {
        few_ports(pod).unwrap();
    }
    let to = server.at(8080);
    let kept: Vec<_> = (0..KEPT)
        .map(|number| {
            let stream = connect(&client, to).unwrap();
            exchange(&stream, format!("kept {number}").as_bytes()).unwrap();
            stream
        })
        .collect();
    for number in 0..NEW {
        app::echo(&client, to, &format!("new {number}")).unwrap();
    }
    for (number, stream) in kept.iter().enumerate() {
        exchange(stream, format!("kept {number}, still there").as_bytes()).unwrap();
    }
}
