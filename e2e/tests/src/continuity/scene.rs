//! Two nodes, a client on one, servers on the other behind a service, and what is asked of them again and again.

use super::REPETITIONS;
use super::clock::Blow;
use super::event::Event;
use super::figures::{Figures, Series};
use super::load::{Load, Shape};
use crate::runtime::{self, MESHED};
use crate::until;
use anyhow::{Context, Result, bail, ensure};
use e2e_netlab::mesh::{Mesh, ServicePort, host};
use e2e_netlab::{Lab, Node, Pod, PodSpec, inside};
use nix::sys::signal::Signal;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;

/// In everything that applications send.
pub const MARKER: &str = "marker-that-no-wire-may-carry";
/// Where echo servers listen.
pub const PORT: u16 = 7000;
/// An agent that has a successor and no connections ends within this time.
const DRAINED: Duration = Duration::from_secs(10);
const SERVICE: &str = "echo";
const VIRTUAL: [&str; 2] = ["10.96.0.10", "fd00:96::10"];

/// The two nodes and their pods.
#[derive(Debug)]
pub struct Scene {
    /// On `a`.
    pub client: Pod,
    /// On `b`.
    pub servers: Vec<Pod>,
    /// What agents are told.
    pub mesh: Mesh,
    /// The nodes.
    pub lab: Lab,
}

/// What load there is, and for how long before and after what is done.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Which load.
    pub shape: Shape,
    /// Before.
    pub before: Duration,
    /// After.
    pub after: Duration,
}

impl Default for Span {
    fn default() -> Self {
        Self {
            shape: Shape::default(),
            before: Duration::from_millis(800),
            after: Duration::from_millis(2_200),
        }
    }
}

impl Scene {
    /// Makes all of it; `settings` are all agents', `more` are pods that agents are told of and nobody makes yet.
    ///
    /// # Errors
    /// Something cannot be made.
    pub fn set(settings: &Map<String, Value>, more: &[PodSpec]) -> Result<Self> {
        let client = PodSpec::idle(MESHED, "client");
        let servers = ["one", "two"].map(|name| PodSpec::server(MESHED, name, &[("echo", PORT)]));
        let mut mesh = runtime::namespaces();
        for spec in servers.iter().chain([&client]).chain(more) {
            mesh.pod(spec, &spec.name);
        }
        let lab = runtime::lab_with(&["a", "b"], &mesh, settings)?;
        let mut wanted = vec![("a", client)];
        wanted.extend(servers.map(|spec| ("b", spec)));
        let mut pods = lab.run_pods(&wanted)?;
        let servers = pods.split_off(1);
        let client = pods.pop().context("no client")?;
        let ports = [ServicePort {
            service: PORT,
            target: PORT,
        }];
        let vips: Vec<IpAddr> = VIRTUAL
            .iter()
            .map(|ip| ip.parse())
            .collect::<Result<_, _>>()?;
        mesh.service(MESHED, SERVICE, &vips, &ports);
        mesh.workload(&client, "client", "HBONE", &[]);
        for server in &servers {
            let name = host(MESHED, SERVICE);
            mesh.workload(server, &server.spec().name, "HBONE", &[(&name, &ports)]);
        }
        lab.publish_mesh(&mesh)?;
        let scene = Self {
            client,
            servers,
            mesh,
            lab,
        };
        scene.whole()?;
        Ok(scene)
    }

    /// The service's address.
    ///
    /// # Errors
    /// None; the address is a constant.
    pub fn service(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::new(VIRTUAL[0].parse()?, PORT))
    }

    fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.servers.iter().chain([&self.client])
    }

    /// The runtime's ids of the pods on a node.
    #[must_use]
    pub fn sandboxes(&self, node: &str) -> Vec<&str> {
        let there = self.pods().filter(|pod| pod.node() == node);
        there.map(Pod::sandbox).collect()
    }

    /// A node.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.lab.node(name)
    }

    /// Waits until everything is as it was at the beginning: one holder and one worker on each node, all pods enrolled and
    /// answering.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn whole(&self) -> Result<()> {
        for node in self.lab.nodes() {
            node.wait_for_agent()?;
            until("one holder and one worker", || node.agent_pair())?;
        }
        for pod in self.pods() {
            until(&format!("{} is enrolled", pod.spec().name), || {
                ensure!(
                    enrolled(self.node(pod.node())?, pod.sandbox())?,
                    "it is not"
                );
                Ok(())
            })?;
        }
        for server in &self.servers {
            for ipv6 in [false, true] {
                let to = server.address(ipv6, PORT)?;
                until(&format!("{to} answers"), || echo(&self.client, to))?;
            }
        }
        echo(&self.client, self.service()?)
    }

    /// Repetitions of an event on the nodes in turn, each beginning and ending with everything as it was.
    ///
    /// # Errors
    /// One cannot be made, or the agents do not become whole again.
    pub fn repeat(&self, name: &str, event: Event) -> Result<Series> {
        self.repeat_with(name, |node| event.befall(node))
    }

    /// The same of anything that is done to a node's agent.
    ///
    /// # Errors
    /// As above.
    pub fn repeat_with(
        &self,
        name: &str,
        mut act: impl FnMut(&Node) -> Result<Vec<Blow>>,
    ) -> Result<Series> {
        let mut series = Series::new(name);
        for turn in 0..REPETITIONS {
            let node = &self.lab.nodes()[turn % 2];
            let figures = self.measure(Span::default(), || act(node));
            series.add(figures.with_context(|| format!("{name}, repetition {}", turn + 1))?);
            for status in node.wait_for_former(DRAINED)? {
                let ours = status.signal() == Some(Signal::SIGKILL as i32);
                ensure!(status.success() || ours, "the former agent: {status}");
            }
            self.whole().with_context(|| {
                format!("after repetition {} of {name}\n{}", turn + 1, self.words())
            })?;
        }
        Ok(series)
    }

    /// The ends of the agents' logs without their access lines, for an error message.
    #[must_use]
    pub fn words(&self) -> String {
        let mut text = String::new();
        for node in self.lab.nodes() {
            let log = node.agent_log().unwrap_or_default();
            let lines: Vec<&str> = log
                .lines()
                .filter(|line| !line.contains("\tconnection "))
                .collect();
            let end = lines[lines.len().saturating_sub(40)..].join("\n");
            let _ = writeln!(text, "the agents on {} said:\n{end}", node.name());
        }
        text
    }

    /// Load from the client to the service, in the middle of which something is done; its figures.
    ///
    /// # Errors
    /// The load cannot be made, or what is done fails.
    pub fn measure(&self, span: Span, act: impl FnOnce() -> Result<Vec<Blow>>) -> Result<Figures> {
        let capture = self.lab.capture("b")?;
        let load = Load::start(&self.client, self.service()?, MARKER, span.shape)?;
        thread::sleep(span.before);
        let blows = act()?;
        thread::sleep(span.after);
        let report = load.stop()?;
        let in_clear = capture.stop()?.occurrences(MARKER.as_bytes());
        Ok(Figures::new(&report, &blows, in_clear))
    }
}

/// Whether a node's agent says that it serves a pod.
///
/// # Errors
/// It does not answer.
pub fn enrolled(node: &Node, sandbox: &str) -> Result<bool> {
    let dump = node.agent_dump()?;
    let pods = dump["pods"].as_array().context("no pods in the dump")?;
    Ok(pods
        .iter()
        .any(|pod| pod["containerId"] == sandbox && pod["stage"] == "enrolled"))
}

/// One message and its echo, closed in good order.
///
/// # Errors
/// It does not come back.
pub fn echo(from: &Pod, to: SocketAddr) -> Result<()> {
    let limit = Duration::from_secs(5);
    inside(from.netns(), || {
        let mut stream = TcpStream::connect_timeout(&to, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(MARKER.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut back = String::new();
        stream.read_to_string(&mut back)?;
        if back != MARKER {
            bail!("{to} answers {back:?}");
        }
        Ok(())
    })?
}
