//! One part of the agent hangs: what can go on goes on, what cannot waits and is said, and nothing is refused for it.
#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::{Result, ensure};
use e2e_netlab::{Part, ProcessId};
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::inside::{halt, only};
use e2e_tests::mesh::Mesh;
use e2e_tests::{Agent, Call, Pod, World, until};
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

/// Two pods in the mesh, and one on its way.
struct Town {
    agent: Agent,
    client: Pod,
    server: Pod,
    late: Pod,
    _app: Server,
    _world: World,
}

impl Town {
    fn build() -> Result<Self> {
        let world = World::new()?;
        let [client, server, late] =
            ["client", "server", "late"].map(|n| world.pod(Mesh::NAMESPACE, n));
        let (client, server, late) = (client?, server?, late?);
        let mesh = Mesh::default().pod(&client).pod(&server).pod(&late);
        let settings = json!({"workerDeadline": "1s"});
        let agent = Agent::start(&world, "node", &mesh, &settings)?;
        for pod in [&client, &server] {
            Call::new("ADD", pod, &agent.socket()).succeed()?;
        }
        let app = Server::start(&server, 8080, Kind::Echo)?;
        app::echo(&client, server.at(8080), "before")?;
        Ok(Self {
            agent,
            client,
            server,
            late,
            _app: app,
            _world: world,
        })
    }

    fn part(&self, part: Part) -> ProcessId {
        only(&self.agent, part).unwrap()
    }

    fn call(&self) -> Result<()> {
        app::echo(&self.client, self.server.at(8080), "a new call")
    }
}

#[test]
fn a_worker_that_hangs_is_replaced_and_whoever_called_meanwhile_is_answered() {
    let town = Town::build().unwrap();
    let (holder, worker) = (town.part(Part::Holder), town.part(Part::Worker));
    let running = app::connect(&town.client, town.server.at(8080)).unwrap();
    app::exchange(&running, b"before").unwrap();
    halt(worker).unwrap();
    let stopped = Instant::now();
    // It is made at once, in the listener's queue, and answered by the next worker.
    town.call().unwrap();
    let waited = stopped.elapsed();
    assert!(
        waited > Duration::from_secs(1) && waited < Duration::from_secs(10),
        "answered after {waited:?}"
    );
    town.agent.wait_for_log(&["the worker hangs"]).unwrap();
    app::exchange(&running, b"after").unwrap_err();
    assert_eq!(town.part(Part::Holder), holder);
    assert_ne!(town.part(Part::Worker), worker);
    until("the third pod starts", || {
        Call::new("ADD", &town.late, &town.agent.socket()).succeed()
    })
    .unwrap();
}

#[test]
fn a_holder_that_hangs_is_said_to_and_connections_go_on() {
    let mut town = Town::build().unwrap();
    let (holder, worker) = (town.part(Part::Holder), town.part(Part::Worker));
    let running = app::connect(&town.client, town.server.at(8080)).unwrap();
    halt(holder).unwrap();
    app::exchange(&running, b"meanwhile").unwrap();
    // From the stock.
    town.call().unwrap();
    town.agent.wait_for_log(&["the holder hangs"]).unwrap();
    until("readiness says so", || {
        let dump = town.agent.dump()?;
        ensure!(dump["readiness"].to_string().contains("holder"), "{dump}");
        Ok(())
    })
    .unwrap();
    let call = Call::new("ADD", &town.late, &town.agent.socket());
    call.within(Duration::from_secs(3)).fail().unwrap();
    assert!(!town.late.has_our_rules().unwrap());
    // What the operator is told to do helps: the next holder takes over from the worker.
    holder.signal(Signal::SIGKILL).unwrap();
    town.agent.start_again().unwrap();
    until("the third pod starts", || {
        Call::new("ADD", &town.late, &town.agent.socket()).succeed()
    })
    .unwrap();
    town.call().unwrap();
    app::exchange(&running, b"after").unwrap();
    assert_eq!(town.part(Part::Worker), worker);
}
