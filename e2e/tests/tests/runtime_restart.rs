//! The agent dies beside running pods, and comes back.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use anyhow::{Context, Result, ensure};
use e2e_netlab::{Lab, Pod, PodSpec, inside};
use e2e_tests::runtime::{self, MESHED};
use e2e_tests::until;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A new connection every so often while the agent is away.
const PACE: Duration = Duration::from_millis(2);
const PORT: u16 = 8080;

/// One request on a connection of its own, as an application in the pod makes it.
fn request(to: SocketAddr) -> Result<()> {
    let limit = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&to, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut buffer)?;
        ensure!(
            count > 0,
            "the answer breaks off: {:?}",
            String::from_utf8_lossy(&answer)
        );
        answer.extend_from_slice(&buffer[..count]);
    }
    let head = String::from_utf8_lossy(&answer);
    ensure!(head.starts_with("HTTP/1.1 200"), "the answer: {head:?}");
    Ok(())
}

struct Scene {
    client: Pod,
    server: Pod,
    lab: Lab,
}

impl Scene {
    /// A client on `a` and a server on `b`; `late` is announced but not made.
    fn set(late: &PodSpec) -> Self {
        let client = PodSpec::idle(MESHED, "client");
        let server = PodSpec::server(MESHED, "server", &[("http", PORT)]);
        let mut mesh = runtime::namespaces();
        for spec in [&client, &server, late] {
            mesh.pod(spec, &spec.name);
        }
        let lab = runtime::lab(&["a", "b"], &mesh).unwrap();
        let pods = lab.run_pods(&[("a", client), ("b", server)]).unwrap();
        let [client, server] = <[Pod; 2]>::try_from(pods).unwrap();
        for pod in [&client, &server] {
            mesh.workload(pod, &pod.spec().name, "HBONE", &[]);
        }
        lab.publish_mesh(&mesh).unwrap();
        Self {
            client,
            server,
            lab,
        }
    }

    /// Requests from the client in both families; all must be answered.
    fn both_families_answer(&self) {
        for ipv6 in [false, true] {
            let to = self.server.address(ipv6, PORT).unwrap();
            inside(self.client.netns(), || request(to))
                .unwrap()
                .unwrap();
        }
    }

    /// The server's own access lines so far that name both identities.
    fn identified(&self) -> usize {
        let log = self.lab.node("b").unwrap().agent_log().unwrap();
        let names = ["client", "server"]
            .map(|name| format!("spiffe://cluster.local/ns/{MESHED}/sa/{name}"));
        let both =
            |line: &&str| line.contains("inbound") && names.iter().all(|name| line.contains(name));
        log.lines().filter(both).count()
    }

    /// From the kill of a node's agent to the first answered request, with what was asked meanwhile.
    fn outage(&self, node: &str) -> Outage {
        let node = self.lab.node(node).unwrap();
        let to = self.server.address(false, PORT).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| inside(self.client.netns(), || ask_on(to, &over)).unwrap());
            node.end_agent(Signal::SIGKILL).unwrap();
            // Its worker lives a moment longer than its holder, and answers.
            let killed = Instant::now();
            // An outage long enough that requests fall into it.
            std::thread::sleep(Duration::from_millis(200));
            let started = Instant::now();
            node.start_agent().unwrap();
            let ready = started.elapsed();
            // Some more requests, all of which must succeed.
            std::thread::sleep(Duration::from_millis(300));
            over.store(true, Ordering::Relaxed);
            Outage {
                asked: asking.join().unwrap(),
                killed,
                started,
                ready,
            }
        })
    }
}

/// When each request began, when it ended, and whether it was answered.
type Asked = Vec<(Instant, Instant, bool)>;

fn ask_on(to: SocketAddr, over: &AtomicBool) -> Asked {
    let mut asked = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answered = request(to).is_ok();
        asked.push((began, Instant::now(), answered));
        std::thread::sleep(PACE);
    }
    asked
}

struct Outage {
    asked: Asked,
    killed: Instant,
    started: Instant,
    ready: Duration,
}

impl Outage {
    /// Says how long it was, and that it was only once.
    fn judge(&self, side: &str) {
        let overlap = |one: &&(Instant, Instant, bool)| one.0 < self.started && one.1 > self.killed;
        assert!(
            self.asked.iter().any(|one| overlap(&one)),
            "{side}: nothing was asked while the agent was away"
        );
        // One that waited for the agent is as good as one that failed.
        let within = |one: &&(Instant, Instant, bool)| one.0 > self.killed && one.1 < self.started;
        assert!(
            !self.asked.iter().filter(within).any(|one| one.2),
            "{side}: answered without an agent"
        );
        let mut after = self.asked.iter().filter(|one| one.1 > self.started);
        let first = after
            .find(|one| one.2)
            .unwrap_or_else(|| panic!("{side}: never answered again"));
        let served = first.1 - self.started;
        let ready_at = self.started + self.ready;
        let late: Vec<_> = self
            .asked
            .iter()
            .filter(|one| one.0 > ready_at && !one.2)
            .collect();
        assert!(
            late.is_empty(),
            "{side}: {} requests failed after the agent was ready",
            late.len()
        );
        println!(
            "agent of the {side} killed: first answer {served:.0?} after its start, ready after {:.0?}; \
             {} requests failed meanwhile",
            self.ready,
            self.asked.iter().filter(|one| !one.2).count()
        );
        assert!(
            served < Duration::from_secs(3),
            "{side}: served again only after {served:?}"
        );
    }
}

#[test]
fn pods_are_served_again_without_add_and_new_ones_wait_for_the_agent() {
    let late = PodSpec::idle(MESHED, "late");
    let scene = Scene::set(&late);
    scene.both_families_answer();
    for (node, side) in [("a", "client"), ("b", "server")] {
        let before = scene.identified();
        scene.outage(node).judge(side);
        scene.both_families_answer();
        until("access lines with both identities", || {
            ensure!(scene.identified() > before, "none after the restart");
            Ok(())
        })
        .unwrap();
    }
    new_pods_wait(&scene, &late);
    scene.lab.down().unwrap();
}

fn new_pods_wait(scene: &Scene, late: &PodSpec) {
    let node = scene.lab.node("a").unwrap();
    node.end_agent(Signal::SIGKILL).unwrap();
    let error = node.run_pod(late).unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("ambient-cni") && error.contains("node agent"),
        "an operator is not told who is missing: {error}"
    );
    let sandboxes = || -> Result<BTreeSet<String>> {
        let all = node.cri().list_pod_sandboxes()?;
        let names = all
            .into_iter()
            .map(|one| one.metadata.context("no name").map(|names| names.name));
        names.collect()
    };
    assert!(!sandboxes().unwrap().contains("late"), "half a pod is left");
    node.start_agent().unwrap();
    let pod = node.run_pod(late).unwrap();
    for ipv6 in [false, true] {
        let to = scene.server.address(ipv6, PORT).unwrap();
        inside(pod.netns(), || request(to)).unwrap().unwrap();
    }
    // Those that were there before are served by that agent too.
    scene.both_families_answer();
    println!("a pod made while the agent was away: {error}");
}
