//! A node's agent as a process: its configuration, its start, its end.

use crate::netns::{Netns, inside};
use crate::process::Daemon;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const READY: u16 = 15021;
const ADMIN: u16 = 15000;
const METRICS: u16 = 15020;
/// Longer than the agent's own bound on a drain.
const DRAIN_PATIENCE: Duration = Duration::from_secs(15);

/// What agents are made from.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The agent's program.
    pub agent: PathBuf,
    /// The CNI plugin.
    pub plugin: PathBuf,
    /// Settings that differ from the lab's.
    pub settings: Map<String, Value>,
}

/// Where an agent's files are.
#[derive(Clone, Debug)]
pub(crate) struct AgentFiles {
    pub(crate) directory: PathBuf,
    pub(crate) configuration: PathBuf,
    pub(crate) socket: PathBuf,
    pub(crate) pods: PathBuf,
    pub(crate) mesh: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) log: PathBuf,
}

impl AgentFiles {
    /// Makes the directory.
    pub(crate) fn create(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory.join("state"))?;
        Ok(Self {
            directory: directory.to_owned(),
            configuration: directory.join("agent.yaml"),
            socket: directory.join("agent.sock"),
            pods: directory.join("pods.yaml"),
            mesh: directory.join("mesh.yaml"),
            state: directory.join("state"),
            log: directory.join("agent.log"),
        })
    }
}

/// The pair that both nodes' agents sign with.
#[derive(Clone, Debug)]
pub(crate) struct DevelopmentCa {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Writes the configuration; YAML reads JSON, so JSON it is.
pub(crate) fn configure(
    node: &str,
    files: &AgentFiles,
    ca: &DevelopmentCa,
    own: &Map<String, Value>,
) -> Result<()> {
    let mut settings = json!({
        "node": node,
        "trustDomain": "cluster.local",
        "socket": files.socket,
        "holderSocket": files.directory.join("holder.sock"),
        "stateDir": files.state,
        "podsFile": files.pods,
        "meshFile": files.mesh,
        "development": true,
        "developmentCaCert": ca.certificate,
        "developmentCaKey": ca.key,
        "adminAddress": format!("127.0.0.1:{ADMIN}"),
        "metricsAddress": format!("[::]:{METRICS}"),
        "readinessAddress": format!("[::]:{READY}"),
        "ipv6": true,
    });
    if let Some(settings) = settings.as_object_mut() {
        settings.extend(own.clone());
    }
    std::fs::write(&files.configuration, serde_json::to_vec_pretty(&settings)?)?;
    Ok(())
}

/// Starts an agent in its node's namespace.
pub(crate) fn start(program: &Path, netns: &Netns, files: &AgentFiles) -> Result<Daemon> {
    let mut command = netns.command(program);
    command.args(["run", "--config"]).arg(&files.configuration);
    Daemon::start("the agent", &mut command, &files.log)
}

/// Whether it says that it is ready.
pub(crate) fn ready(netns: &Netns) -> Result<()> {
    let (status, body) = get(netns, READY, "/healthz/ready")?;
    ensure!(status == 200, "it answers {status}: {}", body.trim());
    Ok(())
}

/// Asks it to drain and end.
pub(crate) fn stop(daemon: &Daemon) -> Result<()> {
    daemon.end(Signal::SIGTERM, DRAIN_PATIENCE).map(|_| ())
}

/// The admin endpoint's dump of what the agent knows.
pub(crate) fn dump(netns: &Netns) -> Result<Value> {
    let (status, body) = get(netns, ADMIN, "/config_dump")?;
    ensure!(status == 200, "the agent's dump: {status} {body}");
    serde_json::from_str(&body).context("the agent's dump")
}

/// The metrics as text.
pub(crate) fn metrics(netns: &Netns) -> Result<String> {
    let (status, body) = get(netns, METRICS, "/metrics")?;
    ensure!(status == 200, "the agent's metrics: {status} {body}");
    Ok(body)
}

/// One GET on a node's loopback: status and body.
pub(crate) fn get(netns: &Netns, port: u16, path: &str) -> Result<(u16, String)> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let limit = Duration::from_secs(5);
    let mut stream = inside(netns.path(), || TcpStream::connect_timeout(&to, limit))??;
    stream.set_read_timeout(Some(limit))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    Ok((
        status,
        if chunked {
            unchunk(body)?
        } else {
            body.to_owned()
        },
    ))
}

fn unchunk(body: &str) -> Result<String> {
    let (mut rest, mut whole) = (body, String::new());
    loop {
        let (size, after) = rest.split_once("\r\n").context("a chunk without a size")?;
        let size = usize::from_str_radix(size.trim(), 16)?;
        if size == 0 {
            return Ok(whole);
        }
        whole.push_str(after.get(..size).context("a short chunk")?);
        rest = after.get(size + 2..).context("a chunk without an end")?;
    }
}
