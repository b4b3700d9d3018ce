//! The agent ends with pods enrolled, in order or not, and starts again: nobody calls ADD a second time.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; the times are part of their answer"
)]

use anyhow::Result;
use e2e_tests::agent::since;
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::mesh::Mesh;
use e2e_tests::wire::Capture;
use e2e_tests::{Agent, Call, Pod, World, until};
use nix::sys::signal::Signal;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Instant;

const MARKER: &str = "never-in-clear-not-even-now";

struct Shop {
    agent: Agent,
    client: Pod,
    server: Pod,
    _app: Server,
    world: World,
}

impl Shop {
    fn open() -> Result<Self> {
        let world = World::new()?;
        let client = world.pod(Mesh::NAMESPACE, "client")?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let mesh = Mesh::default().pod(&client).pod(&server);
        let mesh = mesh.strict(&server);
        let agent = Agent::start(&world, "node", &mesh, &json!({"drainDeadline": "1s"}))?;
        for pod in [&client, &server] {
            Call::new("ADD", pod, &agent.socket()).succeed()?;
        }
        let app = Server::start(&server, 8080, Kind::Echo)?;
        app::echo(&client, server.at(8080), MARKER)?;
        Ok(Self {
            agent,
            client,
            server,
            _app: app,
            world,
        })
    }

    /// Ends the agent, tries calls without it, starts it again, and calls until it serves again.
    fn restart(&mut self, signal: Signal) {
        let capture = Capture::start(&self.world).unwrap();
        let status = self.agent.end(signal).unwrap();
        println!("after {signal}: {status}");
        assert_eq!(status.success(), signal == Signal::SIGTERM);
        // Nobody serves, and nothing gets past the rules.
        assert!(self.client.has_our_rules().unwrap());
        for to in [self.server.at(8080), self.server.at6(8080)] {
            app::echo(&self.client, to, MARKER).unwrap_err();
        }
        let began = Instant::now();
        self.agent.start_again().unwrap();
        let ready = since(began);
        for to in [self.server.at(8080), self.server.at6(8080)] {
            until("calls go through again", || {
                app::echo(&self.client, to, MARKER)
            })
            .unwrap();
        }
        println!(
            "after {signal}: ready in {ready}, serving in {}",
            since(began)
        );
        let seen = capture.stop().unwrap();
        assert_eq!(seen.count(MARKER), 0, "payload in clear");
        assert_eq!(seen.ports, BTreeSet::from([15008]));
        for pod in [&self.client, &self.server] {
            // Its certificate comes a moment later, which the dump then says.
            until("the pod is enrolled again", || {
                let stage = self.agent.stage(&pod.container())?;
                anyhow::ensure!(stage.as_deref() == Some("enrolled"), "{stage:?}");
                Ok(())
            })
            .unwrap();
            Call::new("CHECK", pod, &self.agent.socket())
                .succeed()
                .unwrap();
        }
    }
}

#[test]
fn killed_without_warning() {
    let mut shop = Shop::open().unwrap();
    shop.restart(Signal::SIGKILL);
    // And once more, from the state that the restored agent left.
    shop.restart(Signal::SIGKILL);
}

#[test]
fn asked_to_end() {
    let mut shop = Shop::open().unwrap();
    shop.restart(Signal::SIGTERM);
    shop.agent
        .wait_for_log(&["stopped", "connections_cut=0"])
        .unwrap();
}

#[test]
fn a_pod_that_went_away_meanwhile_is_forgotten() {
    let mut shop = Shop::open().unwrap();
    let gone = shop.world.pod(Mesh::NAMESPACE, "gone").unwrap();
    let mesh = Mesh::default()
        .pod(&shop.client)
        .pod(&shop.server)
        .pod(&gone);
    shop.agent.tell(&mesh).unwrap();
    until("the agent knows the pod", || {
        Call::new("ADD", &gone, &shop.agent.socket()).succeed()
    })
    .unwrap();
    shop.agent.end(Signal::SIGKILL).unwrap();
    let container = gone.container();
    drop(gone);
    shop.agent.start_again().unwrap();
    until("the pod is forgotten", || {
        let stage = shop.agent.stage(&container)?;
        anyhow::ensure!(stage.is_none(), "{stage:?}");
        let state = shop.agent.state()?;
        let files = shop.agent.state_files()?;
        anyhow::ensure!(
            !state.contains(&container),
            "still on disk: {files:?} {state}"
        );
        Ok(())
    })
    .unwrap();
    app::echo(&shop.client, shop.server.at(8080), "the others are served").unwrap();
}

#[test]
fn rules_that_were_taken_out_meanwhile_come_back() {
    let mut shop = Shop::open().unwrap();
    shop.agent.end(Signal::SIGKILL).unwrap();
    for tool in ["iptables", "ip6tables"] {
        let mut flush = shop.client.netns.command(tool).unwrap();
        e2e_netlab::run(flush.args(["-t", "nat", "-F", "ISTIO_OUTPUT"])).unwrap();
    }
    shop.agent.start_again().unwrap();
    until("the rules are as they should be", || {
        Call::new("CHECK", &shop.client, &shop.agent.socket()).succeed()
    })
    .unwrap();
    let capture = Capture::start(&shop.world).unwrap();
    app::echo(&shop.client, shop.server.at(8080), MARKER).unwrap();
    assert_eq!(capture.stop().unwrap().count(MARKER), 0);
}
