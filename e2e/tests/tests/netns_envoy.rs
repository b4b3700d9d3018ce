//! Envoy at one end of a tunnel and ours at the other: bytes, half-close and identities as the wire format has them.
#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::Result;
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::envoy::{Envoy, Way};
use e2e_tests::mesh::Mesh;
use e2e_tests::wire::Capture;
use e2e_tests::{Agent, Call, Pod, World};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::SocketAddr;

const BULK: u64 = 100_000_000;
const MARKER: &str = "not-in-clear-with-envoy-either";

/// A pod of ours, and one with Envoy in it that the mesh knows.
struct Pair {
    agent: Agent,
    ours: Pod,
    foreign: Pod,
    world: World,
}

impl Pair {
    fn meet() -> Result<Self> {
        let world = World::new()?;
        let ours = world.pod(Mesh::NAMESPACE, "ours")?;
        let foreign = world.pod(Mesh::NAMESPACE, "foreign")?;
        let mesh = Mesh::default().pod(&ours).workload(&foreign, "HBONE", &[]);
        let agent = Agent::start(&world, "node", &mesh, &json!({}))?;
        Call::new("ADD", &ours, &agent.socket()).succeed()?;
        Ok(Self {
            agent,
            ours,
            foreign,
            world,
        })
    }

    fn serve(pod: &Pod) -> [Server; 5] {
        [
            (8080, Kind::Echo),
            (8025, Kind::Greet),
            (8081, Kind::Hash),
            (8082, Kind::Send),
            (8084, Kind::SendAndWait),
        ]
        .map(|(port, kind)| Server::start(pod, port, kind).unwrap())
    }
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

#[test]
fn envoy_calls_our_server() {
    let pair = Pair::meet().unwrap();
    let ours = &pair.ours;
    let _servers = Pair::serve(ours);
    let mut ways = Vec::new();
    for (number, port) in [(0, 8080), (1, 8025), (2, 8081), (3, 8082)] {
        let v4 = Way {
            port: 7000 + number,
            tunnel: ours.ipv4.into(),
            target: ours.at(port),
        };
        let v6 = Way {
            port: 7010 + number,
            tunnel: ours.ipv6.into(),
            target: ours.at6(port),
        };
        ways.extend([v4, v6]);
    }
    let _envoy = Envoy::client(&pair.world, &pair.foreign, &ours.spiffe(), &ways).unwrap();
    let capture = Capture::start(&pair.world).unwrap();
    for family in [7000, 7010] {
        app::echo(&pair.foreign, local(family), MARKER).unwrap();
        app::greeted(&pair.foreign, local(family + 1)).unwrap();
        app::upload(&pair.foreign, local(family + 2), 1000).unwrap();
        app::download(&pair.foreign, local(family + 3), 1000).unwrap();
    }
    let seen = capture.stop().unwrap();
    assert_eq!(
        (seen.count(MARKER), seen.ports),
        (0, BTreeSet::from([15008]))
    );
    app::upload(&pair.foreign, local(7002), BULK).unwrap();
    app::download(&pair.foreign, local(7013), BULK).unwrap();
    pair.agent
        .wait_for_access("the upload, in good order", |line| {
            line.has(&[
                ("direction", "inbound"),
                ("src.identity", &pair.foreign.spiffe()),
                ("dst.identity", &ours.spiffe()),
                ("bytes_recv", &BULK.to_string()),
                ("error", ""),
            ])
        })
        .unwrap();
}

#[test]
fn our_client_calls_envoy() {
    let pair = Pair::meet().unwrap();
    let (ours, foreign) = (&pair.ours, &pair.foreign);
    let _servers = Pair::serve(foreign);
    let _envoy = Envoy::server(&pair.world, foreign).unwrap();
    let capture = Capture::start(&pair.world).unwrap();
    for at in [Pod::at, Pod::at6] {
        app::echo(ours, at(foreign, 8080), MARKER).unwrap();
        app::greeted(ours, at(foreign, 8025)).unwrap();
        app::upload(ours, at(foreign, 8081), 1000).unwrap();
        app::download(ours, at(foreign, 8082), 1000).unwrap();
    }
    let seen = capture.stop().unwrap();
    assert_eq!(
        (seen.count(MARKER), seen.ports),
        (0, BTreeSet::from([15008]))
    );
    app::upload(ours, foreign.at(8081), BULK).unwrap();
    // Envoy resets a stream that is held back when its server closes, and loses what waits; so here the client is first.
    app::download_and_close(ours, foreign.at6(8084), BULK).unwrap();
    pair.agent
        .wait_for_access("the download, in good order", |line| {
            line.has(&[
                ("direction", "outbound"),
                ("src.identity", &ours.spiffe()),
                ("dst.identity", &foreign.spiffe()),
                ("bytes_recv", &BULK.to_string()),
                ("error", ""),
            ])
        })
        .unwrap();
}

#[test]
fn an_envoy_of_another_identity_than_expected_is_not_talked_to() {
    let pair = Pair::meet().unwrap();
    let app = Server::start(&pair.foreign, 8080, Kind::Echo).unwrap();
    // In the same place, with a proper certificate, but of somebody else.
    let impostor = Pod {
        name: "impostor".to_owned(),
        ..pair.foreign
    };
    let _envoy = Envoy::server(&pair.world, &impostor).unwrap();
    app::refused(&pair.ours, impostor.at(8080), MARKER).unwrap();
    pair.agent
        .wait_for_access("who answered", |line| {
            line.field("direction") == "outbound"
                && line.field("error").contains(&impostor.spiffe())
        })
        .unwrap();
    assert_eq!(app.connections(), 0);
}
