//! A pod: one sandbox with one container, made and reached through CRI.

use crate::cri::{CreateContainerRequest, Cri, PodSandboxConfig, PodSandboxStatusResponse};
use crate::image;
use crate::podspec::{PodSpec, container_config, sandbox_config};
use crate::process::tail;
use crate::record::PodRecord;
use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXEC_PATIENCE: Duration = Duration::from_secs(60);
const START_PATIENCE: Duration = Duration::from_secs(20);

/// What a command in a pod did.
#[derive(Clone, Debug)]
pub struct ExecOutput {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code.
    pub code: i32,
}

/// Where the pod's parts hang.
pub(crate) struct Home<'a> {
    pub(crate) cri: &'a Cri,
    pub(crate) node: &'a str,
    pub(crate) logs: &'a Path,
    pub(crate) cgroup: &'a str,
}

/// A running pod.
#[derive(Clone, Debug)]
pub struct Pod {
    spec: PodSpec,
    node: String,
    cri: Cri,
    sandbox: String,
    container: String,
    ips: Vec<IpAddr>,
    netns: PathBuf,
}

impl Pod {
    /// Makes the sandbox, then the container, and waits until a server's listeners exist.
    pub(crate) fn start(home: &Home<'_>, spec: &PodSpec) -> Result<Self> {
        let config = sandbox_config(home, spec);
        let sandbox = home
            .cri
            .run_pod_sandbox(&config)
            .with_context(|| format!("making pod {}/{}", spec.namespace, spec.name))?;
        let outcome = Self::fill(home, spec, config, &sandbox);
        if outcome.is_err() {
            // Already failing: the first error is the one that tells.
            drop(home.cri.stop_pod_sandbox(&sandbox));
            drop(home.cri.remove_pod_sandbox(&sandbox));
        }
        outcome
    }

    fn fill(
        home: &Home<'_>,
        spec: &PodSpec,
        config: PodSandboxConfig,
        sandbox: &str,
    ) -> Result<Self> {
        let log = home.logs.join(&config.hostname).with_extension("log");
        let status = home.cri.pod_sandbox_status(sandbox)?;
        let container = home.cri.create_container(&CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(container_config(spec, &log)),
            sandbox_config: Some(config),
        })?;
        home.cri.start_container(&container)?;
        if spec.arguments.first().is_some_and(|verb| verb == "serve") {
            wait::until(&format!("pod {} serves", spec.name), START_PATIENCE, || {
                let text = std::fs::read_to_string(&log)?;
                ensure!(text.contains("\"listeners\""), "its log: {}", tail(&log));
                Ok(())
            })?;
        }
        Ok(Self {
            spec: spec.clone(),
            node: home.node.to_owned(),
            cri: home.cri.clone(),
            sandbox: sandbox.to_owned(),
            container,
            ips: addresses(&status)?,
            netns: network_namespace(&status)?,
        })
    }

    /// What it was made from.
    #[must_use]
    pub fn spec(&self) -> &PodSpec {
        &self.spec
    }

    /// The node it is on.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The runtime's id of its sandbox: CNI's container id.
    #[must_use]
    pub fn sandbox(&self) -> &str {
        &self.sandbox
    }

    /// The runtime's id of its container.
    #[must_use]
    pub fn container(&self) -> &str {
        &self.container
    }

    /// All its addresses.
    #[must_use]
    pub fn ips(&self) -> &[IpAddr] {
        &self.ips
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> &Path {
        &self.netns
    }

    /// A port of it, in a family.
    ///
    /// # Errors
    /// It has no address of that family.
    pub fn address(&self, ipv6: bool, port: u16) -> Result<SocketAddr> {
        let ip = self.ips.iter().find(|ip| ip.is_ipv6() == ipv6);
        let ip =
            ip.with_context(|| format!("{} has no such address: {:?}", self.spec.name, self.ips))?;
        Ok(SocketAddr::new(*ip, port))
    }

    /// Runs a command in it.
    ///
    /// # Errors
    /// The runtime cannot run it; an exit code other than 0 is no error here.
    pub fn exec(&self, command: &[&str]) -> Result<ExecOutput> {
        wait::check()?;
        exec(&self.cri, &self.container, command)
    }

    /// Calls from it (`podkit call ...`); the answer is the verb's JSON line, whether the call succeeded or not.
    ///
    /// # Errors
    /// No such line came back.
    pub fn call(&self, verb: &str, to: SocketAddr, options: &[&str]) -> Result<Value> {
        let to = to.to_string();
        let mut command = vec![image::PROGRAM, "call", verb, "--to", &to];
        command.extend_from_slice(options);
        let output = self.exec(&command)?;
        let value: Value = serde_json::from_str(output.stdout.trim())
            .with_context(|| format!("{command:?} in {}: {output:?}", self.spec.name))?;
        if value.get("made").is_none() {
            bail!("{command:?} in {}: {value}", self.spec.name);
        }
        Ok(value)
    }

    pub(crate) fn record(&self) -> PodRecord {
        PodRecord {
            namespace: self.spec.namespace.clone(),
            name: self.spec.name.clone(),
            container: self.container.clone(),
            ips: self.ips.clone(),
            netns: self.netns.clone(),
        }
    }

    /// Ends and forgets it.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn remove(&self) -> Result<()> {
        self.cri.stop_pod_sandbox(&self.sandbox)?;
        self.cri.remove_pod_sandbox(&self.sandbox)?;
        Ok(())
    }
}

/// Runs a command in any container of a runtime.
pub(crate) fn exec(cri: &Cri, container: &str, command: &[&str]) -> Result<ExecOutput> {
    let words: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
    let answer = cri.exec_sync(container, &words, EXEC_PATIENCE)?;
    Ok(ExecOutput {
        stdout: String::from_utf8_lossy(&answer.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&answer.stderr).into_owned(),
        code: answer.exit_code,
    })
}

fn addresses(status: &PodSandboxStatusResponse) -> Result<Vec<IpAddr>> {
    let network = status
        .status
        .as_ref()
        .and_then(|status| status.network.as_ref());
    let network = network.context("the sandbox has no network")?;
    let more = network.additional_ips.iter().map(|more| more.ip.as_str());
    std::iter::once(network.ip.as_str())
        .chain(more)
        .map(|text| {
            text.parse()
                .with_context(|| format!("the pod's address {text:?}"))
        })
        .collect()
}

/// The runtime tells it in its own details, as a JSON text.
fn network_namespace(status: &PodSandboxStatusResponse) -> Result<PathBuf> {
    let info = status
        .info
        .get("info")
        .context("no details of the sandbox")?;
    let info: Value = serde_json::from_str(info)?;
    let namespaces = info["runtimeSpec"]["linux"]["namespaces"]
        .as_array()
        .context("no namespaces")?;
    let network = namespaces.iter().find(|one| one["type"] == "network");
    let path = network
        .and_then(|one| one["path"].as_str())
        .context("no network namespace")?;
    Ok(PathBuf::from(path))
}
