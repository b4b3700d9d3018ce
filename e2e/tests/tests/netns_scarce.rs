//! Descriptors, disk and memory run out in one part of the agent: what runs goes on, what is new fails with a reason,
//! and when there is enough again it works again, without anybody's help.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; what was said is part of their answer"
)]

use anyhow::{Result, ensure};
use e2e_netlab::{Part, ProcessId};
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::inside::{LittleMemory, NoDescriptors, SmallDisk, only, set_descriptor_limit};
use e2e_tests::mesh::Mesh;
use e2e_tests::{Agent, Call, PATIENCE, Pod, World, until};
use serde_json::json;
use std::net::TcpStream;
use std::time::Duration;

/// Short, so that a call that cannot succeed does not take long.
const DEADLINE: Duration = Duration::from_secs(4);

/// What the kernel says of a full disk.
const FULL: &str = "No space left on device";

/// Two pods in the mesh with a connection between them, and a third on its way.
struct Town {
    agent: Agent,
    client: Pod,
    server: Pod,
    late: Pod,
    running: TcpStream,
    disk: SmallDisk,
    _app: Server,
    _world: World,
}

impl Town {
    fn build() -> Result<Self> {
        let world = World::new()?;
        let client = world.pod(Mesh::NAMESPACE, "client")?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let late = world.pod(Mesh::NAMESPACE, "late")?;
        let mesh = Mesh::default().pod(&client).pod(&server).pod(&late);
        let path = world.directory().join("disk");
        let disk = SmallDisk::mount(&path)?;
        let settings = json!({"drainDeadline": "1s", "stateDir": path});
        let agent = Agent::start(&world, "node", &mesh, &settings)?;
        for pod in [&client, &server] {
            Call::new("ADD", pod, &agent.socket()).succeed()?;
        }
        let app = Server::start(&server, 8080, Kind::Echo)?;
        let running = app::connect(&client, server.at(8080))?;
        app::exchange(&running, b"before")?;
        Ok(Self {
            agent,
            client,
            server,
            late,
            running,
            disk,
            _app: app,
            _world: world,
        })
    }

    /// The runtime's attempt to start the third pod fails, and nothing is left of it.
    fn late_pod_fails(&self) -> Result<String> {
        let call = Call::new("ADD", &self.late, &self.agent.socket());
        let answer = call.within(DEADLINE).fail()?;
        ensure!(!self.late.has_our_rules()?, "rules are left behind");
        println!("ADD says {}", answer.output);
        Ok(answer.output.to_string())
    }

    /// The runtime tries again, as it does.
    fn late_pod_succeeds(&self) -> Result<()> {
        until("the third pod starts", || {
            Call::new("ADD", &self.late, &self.agent.socket()).succeed()
        })?;
        app::echo(&self.late, self.server.at(8080), "from the late one")
    }

    fn call(&self) -> Result<()> {
        app::echo(&self.client, self.server.at(8080), "a new call")
    }

    fn part(&self, part: Part) -> ProcessId {
        only(&self.agent, part).unwrap()
    }
}

#[test]
fn the_holder_gets_no_descriptors() {
    let town = Town::build().unwrap();
    let before = [Part::Holder, Part::Worker].map(|part| town.part(part));
    let none = NoDescriptors::impose(before[0]).unwrap();
    town.late_pod_fails().unwrap();
    app::exchange(&town.running, b"meanwhile").unwrap();
    town.agent.wait_for_log(&["Too many open files"]).unwrap();
    drop(none);
    town.late_pod_succeeds().unwrap();
    until("calls go through", || town.call()).unwrap();
    app::exchange(&town.running, b"after").unwrap();
    assert_eq!(
        before,
        [Part::Holder, Part::Worker].map(|part| town.part(part))
    );
}

/// It is told so little room that it cannot even wait for what it has: it gives up. What serves goes on serving.
#[test]
fn a_holder_that_gives_up_leaves_its_worker_to_the_next() {
    let mut town = Town::build().unwrap();
    let (holder, worker) = (town.part(Part::Holder), town.part(Part::Worker));
    set_descriptor_limit(holder, "3").unwrap();
    holder.wait_for_end(PATIENCE).unwrap();
    app::exchange(&town.running, b"meanwhile").unwrap();
    town.agent.start_again().unwrap();
    until("calls go through", || town.call()).unwrap();
    town.late_pod_succeeds().unwrap();
    assert_eq!(town.part(Part::Worker), worker);
    app::exchange(&town.running, b"after").unwrap();
}

#[test]
fn the_worker_gets_no_descriptors() {
    let town = Town::build().unwrap();
    let before = [Part::Holder, Part::Worker].map(|part| town.part(part));
    let none = NoDescriptors::impose(before[1]).unwrap();
    town.late_pod_fails().unwrap();
    app::exchange(&town.running, b"meanwhile").unwrap();
    // It waits for its turn, and is not lost.
    let waiting = app::connect(&town.client, town.server.at(8080)).unwrap();
    town.agent.wait_for_log(&["Too many open files"]).unwrap();
    drop(none);
    app::exchange(&waiting, b"at last").unwrap();
    town.late_pod_succeeds().unwrap();
    until("calls go through", || town.call()).unwrap();
    app::exchange(&town.running, b"after").unwrap();
    assert_eq!(
        before,
        [Part::Holder, Part::Worker].map(|part| town.part(part))
    );
}

#[test]
fn the_disk_is_full() {
    let town = Town::build().unwrap();
    town.disk.fill().unwrap();
    let answer = town.late_pod_fails().unwrap();
    assert!(answer.contains(FULL), "{answer}");
    app::exchange(&town.running, b"meanwhile").unwrap();
    town.call().unwrap();
    // What was written before is whole.
    for pod in [&town.client, &town.server] {
        Call::new("CHECK", pod, &town.agent.socket())
            .succeed()
            .unwrap();
    }
    town.disk.clear().unwrap();
    town.late_pod_succeeds().unwrap();
}

#[test]
fn a_full_disk_and_a_dead_worker() {
    let town = Town::build().unwrap();
    town.disk.fill().unwrap();
    let worker = town.part(Part::Worker);
    worker.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    worker.wait_for_end(PATIENCE).unwrap();
    until("calls go through again", || town.call()).unwrap();
    until("the reason is the disk", || {
        let answer = town.late_pod_fails()?;
        ensure!(answer.contains(FULL), "{answer}");
        Ok(())
    })
    .unwrap();
    // It has certificates of its own by now, and cannot write that down.
    town.agent
        .wait_for_log(&["the record of certificates cannot be written", FULL])
        .unwrap();
    town.disk.clear().unwrap();
    town.late_pod_succeeds().unwrap();
}

/// The kernel kills the worker, which has the higher score and the limit; the holder makes another.
#[test]
fn the_worker_gets_no_memory() {
    const LITTLE: u64 = 2 << 20;
    let town = Town::build().unwrap();
    let (holder, worker) = (town.part(Part::Holder), town.part(Part::Worker));
    let group = LittleMemory::new().unwrap();
    group.confine(worker, LITTLE).unwrap();
    let mut connections = Vec::new();
    while worker.alive() && connections.len() < 4000 {
        let connection = app::connect(&town.client, town.server.at(8080));
        connections.extend(
            connection
                .ok()
                .filter(|made| app::exchange(made, &[7; 4096]).is_ok()),
        );
    }
    println!(
        "{} connections were too many for {LITTLE} bytes",
        connections.len()
    );
    worker.wait_for_end(PATIENCE).unwrap();
    until("calls go through again", || town.call()).unwrap();
    assert_eq!(town.part(Part::Holder), holder);
    assert_ne!(town.part(Part::Worker), worker);
    town.agent.wait_for_log(&["worker", "signal: 9"]).unwrap();
    town.late_pod_succeeds().unwrap();
    until("the dead are gone", || {
        ensure!(group.is_empty()?, "not yet");
        Ok(())
    })
    .unwrap();
}
