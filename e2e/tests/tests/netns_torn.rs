//! The table of enrolled pods is damaged on the disk while nobody looks: what can be read of it is used, what cannot is
//! said, and no pod's traffic ever leaves in clear.
#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::{Result, ensure};
use e2e_netlab::Part;
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::inside::only;
use e2e_tests::mesh::Mesh;
use e2e_tests::wire::Capture;
use e2e_tests::{Agent, Call, PATIENCE, Pod, World, until};
use nix::sys::signal::Signal;
use serde_json::json;
use std::path::PathBuf;

const MARKER: &str = "never-in-clear-whatever-the-table-says";
const CURRENT: &str = "pods.json";
const PREVIOUS: &str = "pods.json.previous";

struct Archive {
    agent: Agent,
    client: Pod,
    server: Pod,
    state: PathBuf,
    _app: Server,
    world: World,
}

impl Archive {
    fn open() -> Result<Self> {
        let world = World::new()?;
        let client = world.pod(Mesh::NAMESPACE, "client")?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let mesh = Mesh::default().pod(&client).pod(&server).strict(&server);
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
            state: world.directory().join("node/state"),
            _app: app,
            world,
        })
    }

    /// As a disk does that lost power in the middle of a write.
    fn truncate(&self, name: &str) -> Result<()> {
        let file = self.state.join(name);
        let length = std::fs::metadata(&file)?.len();
        ensure!(length > 100, "{name} has little to lose: {length}");
        let file = std::fs::OpenOptions::new().write(true).open(file)?;
        Ok(file.set_len(length / 2)?)
    }

    /// As a disk does that remaps its blocks.
    fn overwrite(&self, name: &str) -> Result<()> {
        Ok(std::fs::write(self.state.join(name), [0xa5; 4096])?)
    }

    /// The worker dies, and another one finds what `meanwhile` leaves.
    fn replace_worker(&self, meanwhile: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let holder = only(&self.agent, Part::Holder)?;
        let worker = only(&self.agent, Part::Worker)?;
        // It would start another one before we are done.
        holder.signal(Signal::SIGSTOP)?;
        worker.signal(Signal::SIGKILL)?;
        worker.wait_for_end(PATIENCE)?;
        let outcome = meanwhile(self);
        holder.signal(Signal::SIGCONT)?;
        outcome?;
        until("another worker", || {
            let now = only(&self.agent, Part::Worker)?;
            ensure!(now != worker, "not yet");
            Ok(())
        })
    }

    fn says_damaged(&self) {
        self.agent.wait_for_log(&["error", "was damaged"]).unwrap();
        let set_aside = format!("{CURRENT}.damaged");
        assert!(self.agent.state_files().unwrap().contains(&set_aside));
    }

    fn serves_all(&self) {
        until("calls go through", || {
            app::echo(&self.client, self.server.at(8080), MARKER)
        })
        .unwrap();
        for pod in [&self.client, &self.server] {
            until("the pod is whole", || {
                Call::new("CHECK", pod, &self.agent.socket()).succeed()
            })
            .unwrap();
        }
    }
}

#[test]
fn torn_while_all_was_down_the_previous_table_is_used() {
    let mut archive = Archive::open().unwrap();
    // Written twice, so that both tables know both pods.
    let late = archive.client.container();
    until("both tables are there", || {
        ensure!(archive.agent.state()?.contains(&late), "not yet");
        archive.agent.state_files().map(drop)
    })
    .unwrap();
    std::fs::copy(archive.state.join(CURRENT), archive.state.join(PREVIOUS)).unwrap();
    archive.agent.end(Signal::SIGKILL).unwrap();
    archive.truncate(CURRENT).unwrap();
    archive.agent.start_again().unwrap();
    archive.says_damaged();
    archive.serves_all();
}

#[test]
fn torn_while_the_worker_was_down() {
    let archive = Archive::open().unwrap();
    std::fs::copy(archive.state.join(CURRENT), archive.state.join(PREVIOUS)).unwrap();
    archive
        .replace_worker(|archive| archive.overwrite(CURRENT))
        .unwrap();
    archive.says_damaged();
    archive.serves_all();
}

#[test]
fn both_tables_torn_nothing_leaves_in_clear_and_a_new_start_of_the_pod_helps() {
    let archive = Archive::open().unwrap();
    let capture = Capture::start(&archive.world).unwrap();
    archive
        .replace_worker(|archive| {
            archive.truncate(CURRENT)?;
            archive.overwrite(PREVIOUS)
        })
        .unwrap();
    archive.says_damaged();
    // Whether the holder's memory was enough to serve them or not: never in clear.
    let called = app::echo(&archive.client, archive.server.at(8080), MARKER);
    for pod in [&archive.client, &archive.server] {
        assert!(pod.has_our_rules().unwrap());
        Call::new("ADD", pod, &archive.agent.socket())
            .succeed()
            .unwrap();
    }
    archive.serves_all();
    let seen = capture.stop().unwrap();
    assert_eq!(
        seen.count(MARKER),
        0,
        "payload in clear; the call before: {called:?}"
    );
}
