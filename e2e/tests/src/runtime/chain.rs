//! The plugins of a network executed one after the other, with the environment, input and order of the CNI library that
//! containerd uses; each one's time is taken.

use super::{Sandbox, peer};
use anyhow::{Context, Result, ensure};
use e2e_netlab::{Binaries, Lab, Node, inside};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any deadline of a plugin.
const LIMIT: Duration = Duration::from_secs(60);

/// A network of a node: the bridge plugin, and ours behind it.
#[derive(Clone, Debug)]
pub struct Network {
    node: PathBuf,
    plugins: PathBuf,
    ours: PathBuf,
    /// Version of the specification.
    pub version: String,
    name: String,
    /// The bridge's configuration, without what the runtime adds.
    pub bridge: Value,
    /// Our configuration, likewise.
    pub mesh: Value,
}

/// What a plugin did.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; none after a signal.
    pub exit: Option<i32>,
    /// Standard output as data; null if it said nothing or no JSON.
    pub output: Value,
    /// All it said, for messages.
    pub said: String,
    /// From the start of the process to its end.
    pub took: Duration,
}

/// What an ADD of a chain came to.
#[derive(Clone, Debug)]
pub struct Added {
    /// The result, after the last plugin.
    pub result: Value,
    /// The bridge's time.
    pub bridge: Duration,
    /// Ours, if we were in the chain.
    pub mesh: Duration,
}

impl Ran {
    /// The code of the specification: 0 for success, that of the error document for a failure.
    ///
    /// # Errors
    /// It died, or failed without a proper document.
    pub fn code(&self) -> Result<u64> {
        if self.exit == Some(0) {
            ensure!(
                self.output["code"].is_null(),
                "an error with exit code 0: {self:?}"
            );
            return Ok(0);
        }
        let proper = self.exit == Some(1)
            && self.output["msg"]
                .as_str()
                .is_some_and(|msg| !msg.is_empty());
        ensure!(proper, "no error document: {self:?}");
        self.output["code"]
            .as_u64()
            .with_context(|| format!("no code: {self:?}"))
    }
}

impl Network {
    /// On a node, with a bridge and address ranges of its own.
    ///
    /// # Errors
    /// A program is missing.
    pub fn new(lab: &Lab, node: &Node, version: &str, name: &str, number: u8) -> Result<Self> {
        let plugins = peer("bridge")?;
        Ok(Self {
            node: node.netns().path().to_owned(),
            plugins: plugins.parent().context("no directory")?.to_owned(),
            ours: Binaries::from_env()?.plugin,
            version: version.to_owned(),
            name: name.to_owned(),
            bridge: json!({
                "type": "bridge",
                "bridge": format!("cni{number}"),
                "isGateway": true,
                "isDefaultGateway": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": lab.directory().join(format!("ipam-{number}")),
                    "ranges": [
                        [{"subnet": format!("10.{number}.0.0/16")}],
                        [{"subnet": format!("fd00:{number}::/64")}],
                    ],
                },
            }),
            mesh: json!({"type": "ambient-cni", "agent_socket": node.agent_socket()}),
        })
    }

    /// The configuration file of a runtime.
    #[must_use]
    pub fn list(&self) -> Value {
        json!({"cniVersion": self.version, "name": self.name, "plugins": [self.bridge, self.mesh]})
    }

    /// What a plugin gets on its standard input.
    #[must_use]
    pub fn input(&self, plugin: &Value, previous: &Value) -> Value {
        let mut input = plugin.clone();
        input["cniVersion"] = json!(self.version);
        input["name"] = json!(self.name);
        if !previous.is_null() {
            input["prevResult"] = previous.clone();
        }
        input
    }

    /// The environment of a call.
    #[must_use]
    pub fn environment(&self, verb: &str, pod: &Sandbox) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("CNI_COMMAND", verb.to_owned()),
            ("CNI_CONTAINERID", pod.container.clone()),
            ("CNI_NETNS", pod.path().display().to_string()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_ARGS", pod.args()),
            ("CNI_PATH", self.plugins.display().to_string()),
        ])
    }

    /// Calls the bridge plugin.
    ///
    /// # Errors
    /// It cannot be started or does not end.
    pub fn bridge(&self, verb: &str, pod: &Sandbox, previous: &Value) -> Result<Ran> {
        let program = self.plugins.join("bridge");
        self.call(
            &program,
            &self.environment(verb, pod),
            &self.input(&self.bridge, previous),
        )
    }

    /// Calls our plugin.
    ///
    /// # Errors
    /// It cannot be started or does not end.
    pub fn mesh(&self, verb: &str, pod: &Sandbox, previous: &Value) -> Result<Ran> {
        self.call(
            &self.ours,
            &self.environment(verb, pod),
            &self.input(&self.mesh, previous),
        )
    }

    /// Starts our plugin and does not wait for it; what it says is lost.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, verb: &str, pod: &Sandbox, previous: &Value) -> Result<Child> {
        let mut command = plugin(&self.ours, &self.environment(verb, pod));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = inside(&self.node, || command.spawn())?.context("starting the plugin")?;
        let input = self.input(&self.mesh, previous).to_string();
        let mut stdin = child.stdin.take().context("no standard input")?;
        // One that refuses before it has read everything closes the pipe, which is its right.
        drop(stdin.write_all(input.as_bytes()));
        Ok(child)
    }

    /// Calls our plugin with any environment and input.
    ///
    /// # Errors
    /// It cannot be started or does not end.
    pub fn raw(&self, environment: &BTreeMap<&'static str, String>, input: &[u8]) -> Result<Ran> {
        execute(&self.node, &self.ours, &[], environment, input)
    }

    /// ADD of the bridge alone: its result.
    ///
    /// # Errors
    /// It fails.
    pub fn attach(&self, pod: &Sandbox) -> Result<Added> {
        let ran = self.bridge("ADD", pod, &Value::Null)?;
        ensure!(ran.exit == Some(0), "the bridge: {ran:?}");
        Ok(Added {
            result: ran.output,
            bridge: ran.took,
            mesh: Duration::ZERO,
        })
    }

    /// ADD of the whole chain.
    ///
    /// # Errors
    /// A plugin fails, or ours alters the result.
    pub fn add(&self, pod: &Sandbox) -> Result<Added> {
        let added = self.attach(pod)?;
        let ran = self.mesh("ADD", pod, &added.result)?;
        ensure!(ran.exit == Some(0), "ours: {ran:?}");
        ensure!(ran.output == added.result, "not prevResult: {ran:?}");
        Ok(Added {
            mesh: ran.took,
            ..added
        })
    }

    fn call(
        &self,
        program: &Path,
        environment: &BTreeMap<&'static str, String>,
        input: &Value,
    ) -> Result<Ran> {
        execute(
            &self.node,
            program,
            &[],
            environment,
            input.to_string().as_bytes(),
        )
    }
}

/// Executes a program in a network namespace with exactly these variables besides `PATH`.
///
/// # Errors
/// It cannot be started, or has to be killed.
pub fn execute(
    netns: &Path,
    program: &Path,
    arguments: &[&str],
    environment: &BTreeMap<&'static str, String>,
    input: &[u8],
) -> Result<Ran> {
    let mut command = plugin(program, environment);
    command.args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // The process is born in the namespace of the thread that makes it.
    inside(netns, || within_limit(&mut command, input))?.with_context(|| {
        format!(
            "{} {arguments:?} as {:?}",
            program.display(),
            environment.get("CNI_COMMAND")
        )
    })
}

/// A program with exactly these variables besides `PATH`, and an input.
fn plugin(program: &Path, environment: &BTreeMap<&'static str, String>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(environment);
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    command.stdin(Stdio::piped());
    command
}

fn within_limit(command: &mut Command, input: &[u8]) -> Result<Ran> {
    let began = Instant::now();
    let mut child = command.spawn()?;
    let process = Pid::from_raw(i32::try_from(child.id())?);
    let mut stdin = child.stdin.take().context("no standard input")?;
    // One that refuses before it has read everything closes the pipe, which is its right.
    drop(stdin.write_all(input));
    drop(stdin);
    let (ended, end) = mpsc::channel::<()>();
    let (output, took) = thread::scope(|scope| {
        scope.spawn(move || {
            if end.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                // It may have ended at this very moment.
                let _ = kill(process, Signal::SIGKILL);
            }
        });
        let output = child.wait_with_output();
        let took = began.elapsed();
        drop(ended);
        (output, took)
    });
    let output = output?;
    ensure!(took < LIMIT, "it did not end within {LIMIT:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Ran {
        exit: output.status.code(),
        output: serde_json::from_str(&text).unwrap_or(Value::Null),
        said: format!("{text}{}", String::from_utf8_lossy(&output.stderr)),
        took,
    })
}
