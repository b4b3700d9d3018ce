//! A node: a network namespace with a containerd, perhaps an agent, and pods.

use crate::agent::{AgentFiles, AgentOptions, DevelopmentCa};
use crate::cni::Cni;
use crate::containerd::Containerd;
use crate::cri::Cri;
use crate::netns::Netns;
use crate::node_agent::Agents;
use crate::pod::{Home, Pod};
use crate::podspec::PodSpec;
use crate::process::Daemon;
use crate::record::NodeRecord;
use crate::topology::Place;
use crate::wait;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
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
    pub(crate) agents: Mutex<Agents>,
    pub(crate) ca: DevelopmentCa,
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
