//! The worker dies with its keys while the certificate authority is away: traffic waits, an operator sees what there was
//! and what is missing, and once the authority is back all is served again without anybody's help.
#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::{Context, Result, ensure};
use e2e_netlab::{Part, ProcessId};
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::inside::only;
use e2e_tests::mesh::Mesh;
use e2e_tests::wire::Capture;
use e2e_tests::{Agent, Call, PATIENCE, Pod, World, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;

const MARKER: &str = "held-and-never-in-clear";
const RECORD: &str = "certificates.json";

struct Office {
    agent: Agent,
    client: Pod,
    server: Pod,
    late: Pod,
    state: PathBuf,
    _app: Server,
    world: World,
}

impl Office {
    fn open() -> Result<Self> {
        let world = World::new()?;
        let client = world.pod(Mesh::NAMESPACE, "client")?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let late = world.pod(Mesh::NAMESPACE, "late")?;
        let mesh = Mesh::default().pod(&client).pod(&server).pod(&late);
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
            late,
            state: world.directory().join("node/state"),
            _app: app,
            world,
        })
    }

    /// What the agent says of a pod's certificate.
    fn certificate(&self, pod: &Pod) -> Result<Value> {
        let dump = self.agent.dump()?;
        let all = dump["certificates"].as_array().context("no certificates")?;
        let found = all.iter().find(|one| one["identity"] == pod.spiffe());
        found.cloned().context("not that one")
    }

    fn serial(&self, pod: &Pod) -> Result<String> {
        let certificate = self.certificate(pod)?;
        let serial = certificate["certChain"][0]["serialNumber"].as_str();
        Ok(serial.context("none is in use")?.to_owned())
    }

    /// Both pods' certificates are on disk, and nothing that could be a key.
    fn wait_for_record(&self) -> Result<[String; 2]> {
        let serials = [self.serial(&self.client)?, self.serial(&self.server)?];
        until("both certificates are recorded", || {
            let text = std::fs::read_to_string(self.state.join(RECORD))?;
            ensure!(serials.iter().all(|serial| text.contains(serial)), "{text}");
            Ok(())
        })?;
        for name in self.agent.state_files()? {
            let bytes = std::fs::read(self.state.join(&name))?;
            let text = String::from_utf8_lossy(&bytes);
            ensure!(!text.contains("PRIVATE"), "a key is in {name}");
        }
        Ok(serials)
    }

    fn kill_worker(&self) -> Result<ProcessId> {
        let worker = only(&self.agent, Part::Worker)?;
        worker.signal(Signal::SIGKILL)?;
        worker.wait_for_end(PATIENCE)?;
        let mut next = worker;
        until("another worker", || {
            next = only(&self.agent, Part::Worker)?;
            ensure!(next != worker, "not yet");
            Ok(())
        })?;
        Ok(next)
    }

    fn serves(&self) -> Result<()> {
        until("calls go through", || {
            app::echo(&self.client, self.server.at(8080), MARKER)
        })
    }
}

#[test]
fn the_worker_dies_while_the_authority_is_away() {
    let office = Office::open().unwrap();
    let [serial, _] = office.wait_for_record().unwrap();
    let capture = Capture::start(&office.world).unwrap();
    let (key, away) = (
        office.world.ca_key(),
        office.world.directory().join("ca.key.away"),
    );
    std::fs::rename(&key, &away).unwrap();
    let worker = office.kill_worker().unwrap();

    until(
        "the former certificate is shown, and why there is none",
        || {
            let now = office.certificate(&office.client)?;
            let former = &now["formerWorker"]["certificate"];
            ensure!(now["state"] == "Initializing", "{now}");
            ensure!(now["certChain"][0]["serialNumber"].is_null(), "{now}");
            ensure!(former["serialNumber"] == serial, "{now}");
            ensure!(
                former["privateKey"] == "gone with the former worker",
                "{now}"
            );
            let why = now["lastError"].as_str().context("no error")?;
            ensure!(why.contains("ca.key"), "{why}");
            Ok(())
        },
    )
    .unwrap();
    let status = office.agent.status().unwrap();
    let line = format!("{}: waiting since ", office.client.spiffe());
    let line = status.lines().find(|all| all.starts_with(&line)).unwrap();
    for part in ["the former worker", "ends 2", "last error: ", "ca.key"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(
        status.contains("pending: certificate authority"),
        "{status}"
    );
    let refused = Call::new("ADD", &office.late, &office.agent.socket()).fail();
    let answer = refused.unwrap().output.to_string();
    assert!(answer.contains("certificate authority"), "{answer}");

    let waiting = app::connect(&office.client, office.server.at(8080)).unwrap();
    std::fs::rename(&away, &key).unwrap();
    app::exchange(&waiting, MARKER.as_bytes()).unwrap();
    office.serves().unwrap();
    until("it is issued anew", || {
        let now = office.certificate(&office.client)?;
        ensure!(now["state"] == "Available", "{now}");
        ensure!(now["formerWorker"].is_null(), "{now}");
        Ok(())
    })
    .unwrap();
    assert_ne!(office.serial(&office.client).unwrap(), serial);
    office.wait_for_record().unwrap();
    let valid = format!("{}: valid until 2", office.client.spiffe());
    let status = office.agent.status().unwrap();
    assert!(status.contains(&valid), "{status}");
    until("pods start again", || {
        Call::new("ADD", &office.late, &office.agent.socket()).succeed()
    })
    .unwrap();
    assert_eq!(only(&office.agent, Part::Worker).unwrap(), worker);
    assert_eq!(capture.stop().unwrap().count(MARKER), 0, "payload in clear");
}

#[test]
fn a_torn_record_costs_nothing_but_the_record() {
    let office = Office::open().unwrap();
    office.wait_for_record().unwrap();
    // Nothing changes now, so nobody writes it.
    std::fs::write(office.state.join(RECORD), [0xa5; 512]).unwrap();
    office.kill_worker().unwrap();
    office.serves().unwrap();
    office
        .agent
        .wait_for_log(&["warn", "the record of certificates cannot be used"])
        .unwrap();
    let aside = format!("{RECORD}.damaged");
    assert!(office.agent.state_files().unwrap().contains(&aside));
    office.wait_for_record().unwrap();
}

/// The authority is away from the very first start; nothing dies of it.
#[test]
fn an_agent_that_starts_without_its_authority_waits_for_it() {
    let mut office = Office::open().unwrap();
    office.agent.end(Signal::SIGTERM).unwrap();
    let (key, away) = (
        office.world.ca_key(),
        office.world.directory().join("ca.key.away"),
    );
    std::fs::rename(&key, &away).unwrap();
    let back = std::thread::scope(|scope| {
        let agent = &mut office.agent;
        let started = scope.spawn(move || agent.start_again());
        let log = office.world.directory().join("node/agent.log");
        let said = until("the agent says what is missing", || {
            let text = std::fs::read_to_string(&log)?;
            ensure!(text.contains("authority's files cannot be used"), "not yet");
            Ok(())
        });
        let back = std::fs::rename(&away, &key);
        started.join().unwrap().unwrap();
        said.unwrap();
        back
    });
    back.unwrap();
    let died = office.agent.log().matches("the worker died").count();
    assert_eq!(died, 0);
    office.serves().unwrap();
}
