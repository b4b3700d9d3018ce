//! Two pods of two nodes through the shipped plugin, agent and tunnel.
#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::Result;
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::mesh::Mesh;
use e2e_tests::wire::Capture;
use e2e_tests::{Agent, Call, Pod, World};
use serde_json::json;
use std::collections::BTreeSet;

const VIP: &str = "10.96.0.7";
const VIP6: &str = "fd96::7";

/// A client's and a server's node, and two pods that are on no node of ours.
struct Shop {
    agents: [Agent; 2],
    client: Pod,
    server: Pod,
    outside: Pod,
    world: World,
}

impl Shop {
    fn open(extend: impl FnOnce(Mesh, &Pod, &Pod) -> Mesh) -> Result<Self> {
        Self::open_with(&json!({}), extend)
    }

    fn open_with(
        settings: &serde_json::Value,
        extend: impl FnOnce(Mesh, &Pod, &Pod) -> Mesh,
    ) -> Result<Self> {
        let world = World::new()?;
        let client = world.pod(Mesh::NAMESPACE, "client")?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let outside = world.pod(Mesh::OUTSIDE, "outside")?;
        let ports = [(80, 8080), (25, 8025), (81, 8081), (82, 8082), (83, 8083)];
        let mesh = Mesh::default().pod(&client).pod(&server).service(
            "web",
            &[VIP, VIP6],
            &ports,
            &[&server],
        );
        let mesh = extend(mesh, &client, &server);
        let agents = Agent::of_two_nodes(&world, &mesh, settings, [&client, &server])?;
        Ok(Self {
            agents,
            client,
            server,
            outside,
            world,
        })
    }

    fn serve(&self, port: u16, kind: Kind) -> Server {
        Server::start(&self.server, port, kind).unwrap()
    }
}

fn vip(port: u16) -> std::net::SocketAddr {
    format!("{VIP}:{port}").parse().unwrap()
}

fn vip6(port: u16) -> std::net::SocketAddr {
    format!("[{VIP6}]:{port}").parse().unwrap()
}

#[test]
fn every_kind_of_traffic_goes_through_the_tunnel_and_nothing_else_is_on_the_wire() {
    let marker = "a-secret-that-must-not-be-seen";
    let shop = Shop::open(|mesh, _, _| mesh).unwrap();
    let (client, server) = (&shop.client, &shop.server);
    let _servers = [
        shop.serve(8080, Kind::Echo),
        shop.serve(8025, Kind::Greet),
        shop.serve(8081, Kind::Hash),
        shop.serve(8083, Kind::Peer),
    ];
    let capture = Capture::start(&shop.world).unwrap();
    for to in [server.at(8080), server.at6(8080), vip(80), vip6(80)] {
        app::echo(client, to, marker).unwrap();
    }
    for to in [server.at(8025), server.at6(8025), vip(25), vip6(25)] {
        app::greeted(client, to).unwrap();
    }
    for to in [server.at(8081), vip(81), vip6(81)] {
        app::upload(client, to, 100_000).unwrap();
    }
    // The application sees the client's own address.
    assert_eq!(
        app::seen_as(client, vip(83)).unwrap(),
        client.ipv4.to_string()
    );
    assert_eq!(
        app::seen_as(client, vip6(83)).unwrap(),
        client.ipv6.to_string()
    );
    let seen = capture.stop().unwrap();
    assert_eq!(seen.ports, BTreeSet::from([15008]), "ports on the wire");
    assert_eq!(seen.count(marker), 0, "payload in clear");

    let line = shop.agents[1]
        .wait_for_access("inbound with both identities", |line| {
            line.has(&[
                ("direction", "inbound"),
                ("src.identity", &client.spiffe()),
                ("dst.identity", &server.spiffe()),
                ("dst.addr", &server.at(8080).to_string()),
            ])
        })
        .unwrap();
    assert_eq!(line.message, "connection complete");
    assert_eq!(line.field("error"), "");
}

#[test]
fn without_the_mesh_the_capture_does_see_ports_and_payload() {
    // What the test above concludes from silence holds only if the capture is not blind.
    let marker = "a-secret-that-must-be-seen-here";
    let world = World::new().unwrap();
    let (client, server) = (
        world.pod("a", "client").unwrap(),
        world.pod("a", "server").unwrap(),
    );
    let _server = Server::start(&server, 8080, Kind::Echo).unwrap();
    let capture = Capture::start(&world).unwrap();
    app::echo(&client, server.at(8080), marker).unwrap();
    app::echo(&client, server.at6(8080), marker).unwrap();
    let seen = capture.stop().unwrap();
    assert_eq!(seen.ports, BTreeSet::from([8080]));
    assert_eq!(seen.count(marker), 4, "there and back, twice");
}

#[test]
fn a_hundred_megabytes_arrive_unaltered_in_both_directions() {
    let shop = Shop::open(|mesh, _, _| mesh).unwrap();
    let _servers = [shop.serve(8081, Kind::Hash), shop.serve(8082, Kind::Send)];
    std::thread::scope(|scope| {
        let up = scope.spawn(|| app::upload(&shop.client, vip(81), 100_000_000));
        app::download(&shop.client, vip6(82), 100_000_000).unwrap();
        up.join().unwrap().unwrap();
    });
}

#[test]
fn strict_refuses_plaintext_and_lets_the_mesh_in() {
    let shop = Shop::open(|mesh, _, server| mesh.strict(server)).unwrap();
    let server = shop.serve(8080, Kind::Echo);
    for to in [shop.server.at(8080), shop.server.at6(8080)] {
        app::refused(&shop.outside, to, "in clear").unwrap();
        shop.agents[1]
            .wait_for_access("the refusal", |line| {
                line.field("src.addr")
                    .starts_with(&shop.outside.ipv4.to_string())
                    && line
                        .field("error")
                        .contains("explicitly denied by: shop/strict-server")
                    && line.field("decided_by") == "policy shop/strict-server"
            })
            .unwrap();
        assert_eq!(
            server.connections(),
            0,
            "the application was reached in clear"
        );
    }
    app::echo(&shop.client, shop.server.at(8080), "by tunnel").unwrap();
    assert_eq!(server.connections(), 1);
}

#[test]
fn plaintext_from_outside_is_let_in_unless_a_policy_says_no() {
    let shop = Shop::open(|mesh, _, _| mesh).unwrap();
    let _server = shop.serve(8080, Kind::Echo);
    app::echo(&shop.outside, shop.server.at(8080), "in clear").unwrap();
    app::echo(&shop.outside, shop.server.at6(8080), "in clear").unwrap();
    shop.agents[1]
        .wait_for_access("plaintext has no identity", |line| {
            line.has(&[("direction", "inbound"), ("src.identity", "")])
                && line.field("dst.addr") == shop.server.at(8080).to_string()
        })
        .unwrap();
}

#[test]
fn a_denied_caller_is_refused_and_both_nodes_say_so() {
    let shop = Shop::open(|mesh, client, server| {
        let principal = client.spiffe().replace("spiffe://", "");
        let rules = json!([[[{"principals": [{"exact": principal}]}]]]);
        mesh.policy("no-client", "Deny", &rules, &[server])
    })
    .unwrap();
    let server = shop.serve(8080, Kind::Echo);
    app::refused(&shop.client, vip(80), "hello?").unwrap();
    shop.agents[1]
        .wait_for_access("the server's side names the policy", |line| {
            line.field("direction") == "inbound"
                && line
                    .field("error")
                    .contains("explicitly denied by: shop/no-client")
                && line.field("src.identity") == shop.client.spiffe()
        })
        .unwrap();
    shop.agents[0]
        .wait_for_access("the client's side has the status", |line| {
            line.field("direction") == "outbound" && line.field("error").contains("401")
        })
        .unwrap();
    assert_eq!(server.connections(), 0);
}

#[test]
fn what_the_mesh_does_not_know_is_reached_directly() {
    let shop = Shop::open(|mesh, _, _| mesh).unwrap();
    let _outside = Server::start(&shop.outside, 9000, Kind::Peer).unwrap();
    for (to, own) in [
        (shop.outside.at(9000), shop.client.ipv4.to_string()),
        (shop.outside.at6(9000), shop.client.ipv6.to_string()),
    ] {
        assert_eq!(app::seen_as(&shop.client, to).unwrap(), own);
        shop.agents[0]
            .wait_for_access("an outbound line", |line| {
                line.has(&[("direction", "outbound"), ("dst.addr", &to.to_string())])
            })
            .unwrap();
    }
}

#[test]
fn pods_leave_the_mesh_without_a_trace() {
    let shop = Shop::open(|mesh, _, _| mesh).unwrap();
    assert!(shop.client.has_our_rules().unwrap());
    assert_eq!(shop.client.listeners().unwrap(), [15001, 15006, 15008]);
    Call::new("CHECK", &shop.client, &shop.agents[0].socket())
        .succeed()
        .unwrap();
    Call::new("DEL", &shop.client, &shop.agents[0].socket())
        .succeed()
        .unwrap();
    assert!(
        !shop.client.has_our_rules().unwrap(),
        "{}",
        shop.client.rules().unwrap()
    );
    assert!(shop.client.listeners().unwrap().is_empty());
    assert_eq!(
        shop.agents[0].stage(&shop.client.container()).unwrap(),
        None
    );
    // Again, and in clear from now on.
    Call::new("DEL", &shop.client, &shop.agents[0].socket())
        .succeed()
        .unwrap();
    let _server = shop.serve(8080, Kind::Echo);
    app::echo(&shop.client, shop.server.at(8080), "in clear").unwrap();
}

#[test]
fn nothing_is_let_into_a_pod_whose_policies_are_not_known_yet() {
    let world = World::new().unwrap();
    let (server, outside) = (
        world.pod(Mesh::NAMESPACE, "server").unwrap(),
        world.pod(Mesh::OUTSIDE, "outside").unwrap(),
    );
    let mesh = Mesh::default().expected(&server);
    let agent = Agent::start(&world, "node-b", &mesh, &json!({})).unwrap();
    Call::new("ADD", &server, &agent.socket())
        .succeed()
        .unwrap();
    let app = Server::start(&server, 8080, Kind::Echo).unwrap();
    app::refused(&outside, server.at(8080), "too early").unwrap();
    assert_eq!(app.connections(), 0, "it was reached without its policies");
    agent
        .wait_for_log(&[
            "this pod is not in the mesh's state yet",
            &outside.ipv4.to_string(),
        ])
        .unwrap();
    // The pod itself may call: what it may reach does not depend on its own policies.
    let _outside = Server::start(&outside, 9000, Kind::Echo).unwrap();
    app::echo(&server, outside.at(9000), "out").unwrap();
    // A connection that waits when the mesh's state comes is let in.
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| app::echo(&outside, server.at(8080), "in time"));
        agent.tell(&mesh.workload(&server, "HBONE", &[])).unwrap();
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(app.connections(), 1);
}

#[test]
fn a_tunnel_for_each_connection_ends_with_it() {
    for (streams, expected) in [(1, 3), (100, 1)] {
        let shop =
            Shop::open_with(&json!({ "poolMaxStreams": streams }), |mesh, _, _| mesh).unwrap();
        let _server = shop.serve(8080, Kind::Echo);
        let calls: Vec<_> = (0..3)
            .map(|_| app::connect(&shop.client, shop.server.at(8080)).unwrap())
            .collect();
        for call in &calls {
            app::exchange(call, b"there?").unwrap();
        }
        assert_eq!(shop.client.tunnels().unwrap(), expected);
        drop(calls);
        let left = usize::from(streams != 1);
        e2e_tests::until("tunnels end with their connections", || {
            anyhow::ensure!(shop.client.tunnels()? == left);
            Ok(())
        })
        .unwrap();
    }
}
