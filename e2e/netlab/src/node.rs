//! A node: a network namespace with a containerd, perhaps an agent, and pods.

use crate::agent::{self, AgentFiles, AgentOptions};
use crate::cni::Cni;
use crate::containerd::Containerd;
use crate::cri::Cri;
use crate::netns::Netns;
use crate::pod::{Home, Pod};
use crate::podspec::PodSpec;
use crate::process::{Daemon, ProcessId};
use crate::record::NodeRecord;
use crate::topology::Place;
use crate::wait;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One node of a lab.
#[derive(Debug)]
pub struct Node {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) netns: Netns,
    pub(crate) directory: PathBuf,
    pub(crate) cgroup: String,
    pub(crate) cni: Cni,
    pub(crate) containerd: Containerd,
    pub(crate) agent_files: AgentFiles,
    pub(crate) agent_options: Option<AgentOptions>,
    pub(crate) agent: Mutex<Option<Daemon>>,
}

impl Node {
    /// Its name in the lab.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its scratch directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its own addresses, one of each family.
    #[must_use]
    pub fn addresses(&self) -> (Ipv4Addr, Ipv6Addr) {
        (self.place.ipv4(), self.place.ipv6())
    }

    /// Its runtime.
    #[must_use]
    pub fn cri(&self) -> &Cri {
        &self.containerd.cri
    }

    /// The runtime's process.
    #[must_use]
    pub fn runtime(&self) -> &Daemon {
        &self.containerd.daemon
    }

    /// Where the runtime looks for CNI: plugins, and the network's configuration.
    #[must_use]
    pub fn cni_directories(&self) -> (&Path, &Path) {
        (&self.cni.binaries, &self.cni.configuration)
    }

    /// Makes a pod: sandbox, CNI, container; a server is listening when this returns.
    ///
    /// # Errors
    /// The runtime refuses; the message holds what CNI said.
    pub fn run_pod(&self, spec: &PodSpec) -> Result<Pod> {
        wait::check()?;
        let logs = self.directory.join("pods");
        let home = Home {
            cri: self.cri(),
            node: &self.name,
            logs: &logs,
            cgroup: &self.cgroup,
        };
        Pod::start(&home, spec)
    }

    /// Chains our plugin behind the bridge, or takes it out again; `extra` keys go into its configuration.
    ///
    /// # Errors
    /// The files cannot be written, or the runtime does not take the network up.
    pub fn set_mesh_network(&self, with_plugin: bool, extra: &Value) -> Result<()> {
        let mut plugin = json!({"type": "ambient-cni", "agent_socket": self.agent_files.socket});
        if let (Some(plugin), Some(extra)) = (plugin.as_object_mut(), extra.as_object()) {
            plugin.extend(extra.clone());
        }
        self.cni.write(if with_plugin {
            std::slice::from_ref(&plugin)
        } else {
            &[]
        })?;
        self.wait_for_network()
    }

    /// Until the runtime says that its network is ready.
    pub(crate) fn wait_for_network(&self) -> Result<()> {
        wait::until(
            "the runtime's network is ready",
            Duration::from_secs(20),
            || {
                let status = self.cri().status()?.status.context("no status")?;
                let network = status
                    .conditions
                    .into_iter()
                    .find(|one| one.r#type == "NetworkReady");
                let network = network.context("no word on the network")?;
                ensure!(network.status, "{}", network.message);
                Ok(())
            },
        )
    }

    fn agent_slot(&self) -> MutexGuard<'_, Option<Daemon>> {
        self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the agent; it is ready when this returns.
    ///
    /// # Errors
    /// It runs already, ends, or does not become ready: with the end of its log.
    pub fn start_agent(&self) -> Result<ProcessId> {
        let options = self
            .agent_options
            .as_ref()
            .context("this lab has no agents")?;
        let mut slot = self.agent_slot();
        ensure!(slot.is_none(), "the agent on {} runs already", self.name);
        let daemon = agent::start(&options.agent, &self.netns, &self.agent_files)
            .with_context(|| format!("on node {}", self.name))?;
        Ok(slot.insert(daemon).id())
    }

    /// Ends the agent: SIGTERM and its drain, or at once with SIGKILL.
    ///
    /// # Errors
    /// It does not run or does not end.
    pub fn end_agent(&self, signal: Signal) -> Result<()> {
        let daemon = self
            .agent_slot()
            .take()
            .with_context(|| format!("no agent on {}", self.name))?;
        if signal == Signal::SIGTERM {
            return agent::stop(&daemon);
        }
        daemon.end(signal, Duration::from_secs(5)).map(|_| ())
    }

    /// Sends a signal to the agent that does not end it (SIGSTOP, SIGCONT).
    ///
    /// # Errors
    /// It does not run.
    pub fn signal_agent(&self, signal: Signal) -> Result<()> {
        self.agent_slot()
            .as_ref()
            .with_context(|| format!("no agent on {}", self.name))?
            .signal(signal)
    }

    /// The agent's process, while there is one.
    #[must_use]
    pub fn agent(&self) -> Option<ProcessId> {
        self.agent_slot().as_ref().map(Daemon::id)
    }

    /// The agent's socket for plugins.
    #[must_use]
    pub fn agent_socket(&self) -> &Path {
        &self.agent_files.socket
    }

    /// The agent's directory of state.
    #[must_use]
    pub fn agent_state(&self) -> &Path {
        &self.agent_files.state
    }

    /// All that the agents on this node have printed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn agent_log(&self) -> Result<String> {
        let log = &self.agent_files.log;
        let bytes = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The agent's dump of what it knows.
    ///
    /// # Errors
    /// Its admin endpoint does not answer.
    pub fn agent_dump(&self) -> Result<Value> {
        agent::dump(&self.netns)
    }

    /// The agent's metrics.
    ///
    /// # Errors
    /// Its endpoint does not answer.
    pub fn agent_metrics(&self) -> Result<String> {
        agent::metrics(&self.netns)
    }

    /// A GET on the node's loopback: status and body.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn get(&self, port: u16, path: &str) -> Result<(u16, String)> {
        agent::get(&self.netns, port, path)
    }

    /// Waits until the agent knows these addresses as workloads.
    pub(crate) fn wait_for_workloads(&self, ips: &[IpAddr]) -> Result<()> {
        wait::until(
            &format!("the agent on {} knows the pods", self.name),
            Duration::from_secs(10),
            || {
                let dump = self.agent_dump()?;
                let known: Vec<&str> = dump["workloads"]
                    .as_array()
                    .context("no workloads in the dump")?
                    .iter()
                    .filter_map(|workload| workload["workloadIps"].as_array())
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                let missing: Vec<_> = ips
                    .iter()
                    .filter(|ip| !known.contains(&ip.to_string().as_str()))
                    .collect();
                ensure!(missing.is_empty(), "it does not know {missing:?}");
                Ok(())
            },
        )
    }

    pub(crate) fn record(&self, pods: &[Pod]) -> NodeRecord {
        NodeRecord {
            name: self.name.clone(),
            netns: self.netns.path().to_owned(),
            runtime_socket: self.containerd.socket.clone(),
            agent_log: self.agent_files.log.clone(),
            pods: pods
                .iter()
                .filter(|pod| pod.node() == self.name)
                .map(Pod::record)
                .collect(),
        }
    }
}
