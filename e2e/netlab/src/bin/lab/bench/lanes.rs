//! The pairs of pods that are measured against each other, on the same two nodes, and how one of them is loaded.

use super::suite::{Test, Verb};
use anyhow::{Context, Result, anyhow, bail, ensure};
use e2e_netlab::log::access_lines;
use e2e_netlab::mesh::Mesh;
use e2e_netlab::{Lab, Pod, PodSpec, inside, program, wait};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The lane in the mesh.
pub(super) const OURS: &str = "ours";
/// The lane that the agents have no part in.
pub(super) const DIRECT: &str = "direct";
const MESHED: &str = "bench";
const PLAIN: &str = "plain";
const ECHO: u16 = 7000;
const BULK: u16 = 7001;
/// What a measurement may take beyond its time.
const EXTRA: Duration = Duration::from_secs(30);
/// What a thousand connections may take to be asked once more.
pub(super) const OPENING: Duration = Duration::from_secs(60);
/// A client's ports stay taken for a minute after each connection: without more of them, and without using them again
/// after a second, a fast lane would run out.
const PORTS: [(&str, &str); 2] = [
    ("ip_local_port_range", "10240 65535"),
    ("tcp_tw_reuse", "1"),
];

/// A client and a server on different nodes.
pub(super) struct Lane {
    /// Its name.
    pub(super) name: &'static str,
    client: Pod,
    server: Pod,
    podkit: PathBuf,
}

/// Makes the pods of all lanes and tells every agent of them.
pub(super) fn make(lab: &Lab, podkit: &Path) -> Result<[Lane; 2]> {
    let serve = |namespace| PodSpec::server(namespace, "server", &[("echo", ECHO), ("bulk", BULK)]);
    let specs = [
        ("a", PodSpec::idle(MESHED, "client")),
        ("b", serve(MESHED)),
        ("a", PodSpec::idle(PLAIN, "client")),
        ("b", serve(PLAIN)),
    ];
    let mut mesh = Mesh::default();
    mesh.namespace(MESHED, true);
    mesh.namespace(PLAIN, false);
    for (_, spec) in &specs {
        mesh.pod(spec, &spec.name);
    }
    lab.write_mesh(&mesh)?;
    lab.start_agents()?;
    let pods = lab.run_pods(&specs)?;
    for pod in &pods {
        let meshed = pod.spec().namespace == MESHED;
        let protocol = if meshed { "HBONE" } else { "TCP" };
        mesh.workload(pod, &pod.spec().name, protocol, &[]);
        give_ports(pod)?;
    }
    lab.publish_mesh(&mesh)?;
    let pods: [Pod; 4] = pods.try_into().map_err(|_| anyhow!("not four pods"))?;
    let [client, server, plain_client, plain_server] = pods;
    let lane = |name, client, server| Lane {
        name,
        client,
        server,
        podkit: podkit.to_owned(),
    };
    Ok([
        lane(OURS, client, server),
        lane(DIRECT, plain_client, plain_server),
    ])
}

fn give_ports(pod: &Pod) -> Result<()> {
    inside(pod.netns(), || {
        PORTS.iter().try_for_each(|(key, value)| {
            let file = Path::new("/proc/sys/net/ipv4").join(key);
            std::fs::write(&file, value).with_context(|| format!("writing {}", file.display()))
        })
    })?
}

impl Lane {
    /// Runs a test for so long; the answer is the JSON line.
    pub(super) fn run(&self, test: &Test, seconds: u32) -> Result<Value> {
        let port = if test.verb == Verb::Bulk { BULK } else { ECHO };
        let mut command = self.podkit(test.verb.word(), port)?;
        let text = seconds.to_string();
        command.args(test.options).args(["--seconds", &text]);
        let mut load = Load::start(&mut command)?;
        load.answer(Duration::from_secs(u64::from(seconds)) + EXTRA)
    }

    /// Opens silent connections; they stay until the answer is asked for.
    pub(super) fn idle(&self, connections: u32) -> Result<Load> {
        let mut command = self.podkit("idle", ECHO)?;
        command
            .args(["--connections", &connections.to_string()])
            .stdin(Stdio::piped());
        let mut load = Load::start(&mut command)?;
        load.wait_until_ready()?;
        Ok(load)
    }

    fn podkit(&self, verb: &str, port: u16) -> Result<Command> {
        let to = self.server.address(false, port)?.to_string();
        let mut command = program("nsenter");
        command
            .arg(format!("--net={}", self.client.netns().display()))
            .arg("--")
            .arg(&self.podkit)
            .args(["measure", verb, "--to", &to]);
        Ok(command)
    }
}

/// An error unless the lane in the mesh goes through both agents, and the other through none.
pub(super) fn check(lab: &Lab, lanes: &[Lane]) -> Result<()> {
    // The mesh comes last: when its access lines are there, those of others would be, too.
    for lane in lanes.iter().rev() {
        let mut command = lane.podkit("connects", ECHO)?;
        command.args(["--in-flight", "1", "--rate", "10", "--seconds", "1"]);
        let answer = Load::start(&mut command)?.answer(EXTRA)?;
        verdict(&answer).with_context(|| format!("the first connections of {}", lane.name))?;
    }
    for lane in lanes {
        let wanted = if lane.name == OURS { 2 } else { 0 };
        let what = format!("{} goes through {wanted} agents", lane.name);
        // Access lines are written a moment after the connection's end.
        wait::until(&what, Duration::from_secs(5), || {
            let carried = carriers(lab, lane)?;
            ensure!(carried == wanted, "access lines are with {carried} agents");
            Ok(())
        })?;
    }
    Ok(())
}

/// How many agents wrote down that they carried something of a lane's client through a tunnel.
fn carriers(lab: &Lab, lane: &Lane) -> Result<usize> {
    let client = lane.client.address(false, 0)?.ip();
    let of_client = |text: &str| {
        text.parse()
            .is_ok_and(|from: SocketAddr| from.ip() == client)
    };
    let mut count = 0;
    for node in lab.nodes() {
        let lines = access_lines(&node.agent_log()?);
        let mut tunnelled = lines
            .iter()
            .filter(|line| !line.field("dst.hbone_addr").is_empty());
        count += usize::from(tunnelled.any(|line| of_client(line.field("src.addr"))));
    }
    Ok(count)
}

/// An error unless the answer says that all went well.
pub(super) fn verdict(answer: &Value) -> Result<()> {
    if answer["ok"] == true {
        return Ok(());
    }
    match (answer["error"].as_str(), answer["errors"].as_object()) {
        (Some(error), _) => bail!("{error}"),
        (None, Some(errors)) => {
            let texts: Vec<&str> = errors.keys().map(String::as_str).collect();
            bail!(
                "{} of {} failed: {}",
                answer["failed"],
                answer["made"],
                texts.join("; ")
            )
        }
        (None, None) => bail!("not an answer of podkit: {answer}"),
    }
}

/// A load under way, ended with this value.
pub(super) struct Load {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Load {
    /// In a process group of its own: on Ctrl-C it is ended by us, after we know.
    fn start(command: &mut Command) -> Result<Self> {
        let text = format!("{command:?}");
        command.stdout(Stdio::piped()).process_group(0);
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {text}"))?;
        let output = child.stdout.take().context("no standard output")?;
        let output = BufReader::new(output);
        Ok(Self { child, output })
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        // It gives up by itself when the server does not answer.
        let mut text = String::new();
        self.output.read_line(&mut text)?;
        let said: Value = serde_json::from_str(&text).unwrap_or_default();
        if said["ready"] == true {
            return Ok(());
        }
        self.child.wait()?;
        verdict(&said).and(Err(anyhow!("it does not say that it is ready: {text:?}")))
    }

    /// Ends its input, and waits for its end.
    pub(super) fn answer(&mut self, patience: Duration) -> Result<Value> {
        drop(self.child.stdin.take());
        wait::until("the load ends", patience, || {
            self.child.try_wait()?.context("it still runs")
        })?;
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        serde_json::from_str(text.trim()).with_context(|| format!("podkit says {text:?}"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // One that has ended already is not there to be killed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
