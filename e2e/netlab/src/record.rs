//! What a lab writes down about itself, for a later `exec` and for tear-down by somebody else.

use crate::cri::Cri;
use crate::pod::{self, ExecOutput};
use crate::process::ProcessId;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

const FILE: &str = "lab.json";
/// Every lab's directory begins so, and is named like its namespaces and cgroups.
pub(crate) const PREFIX: &str = "amb-";

/// A pod as written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PodRecord {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Container id.
    pub container: String,
    /// Addresses.
    pub ips: Vec<IpAddr>,
    /// Network namespace.
    pub netns: PathBuf,
}

/// A node as written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Name.
    pub name: String,
    /// Network namespace's path.
    pub netns: PathBuf,
    /// containerd's socket.
    pub runtime_socket: PathBuf,
    /// The agent's log, if it has one.
    pub agent_log: PathBuf,
    /// Its pods.
    pub pods: Vec<PodRecord>,
}

/// A lab as written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabRecord {
    /// Its name: of its directory, and the beginning of all names that it gave.
    pub name: String,
    /// Whose it is.
    pub owner: ProcessId,
    /// Whether it shall outlive its owner.
    pub kept: bool,
    /// Its nodes.
    pub nodes: Vec<NodeRecord>,
}

impl LabRecord {
    /// Runs a command in a pod.
    ///
    /// # Errors
    /// No such node or pod, or the runtime cannot.
    pub fn exec(&self, node: &str, pod: &str, command: &[&str]) -> Result<ExecOutput> {
        let names = || {
            self.nodes
                .iter()
                .map(|node| node.name.as_str())
                .collect::<Vec<_>>()
        };
        let node = self.nodes.iter().find(|known| known.name == node);
        let node = node.with_context(|| format!("the nodes are {:?}", names()))?;
        let full = |known: &PodRecord| format!("{}/{}", known.namespace, known.name);
        let found = node
            .pods
            .iter()
            .find(|known| full(known) == pod || known.name == pod);
        let found = found.with_context(|| {
            format!(
                "the pods on {} are {:?}",
                node.name,
                node.pods.iter().map(full).collect::<Vec<_>>()
            )
        })?;
        pod::exec(&Cri::new(&node.runtime_socket)?, &found.container, command)
    }

    /// Writes it into a lab's directory in one step.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        let fresh = directory.join("lab.json.fresh");
        std::fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&fresh, directory.join(FILE))?;
        Ok(())
    }

    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let file = directory.join(FILE);
        let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()))
    }
}

/// Where labs live; root's alone. Short, as Unix socket paths are bounded.
pub(crate) fn home() -> Result<PathBuf> {
    let home = PathBuf::from("/run/ambient-lab");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&home)
        .with_context(|| format!("making {} (a lab needs root)", home.display()))?;
    ensure!(
        std::fs::metadata(&home)?.uid() == 0,
        "{} is not root's",
        home.display()
    );
    Ok(home)
}

/// The directories of all labs, whole or half-made.
pub(crate) fn directories() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(home()?)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Labs that were left up on purpose.
///
/// # Errors
/// The labs' home cannot be read.
pub fn kept_labs() -> Result<Vec<LabRecord>> {
    let all = directories()?;
    Ok(all
        .iter()
        .filter_map(|one| LabRecord::read(one).ok())
        .filter(|lab| lab.kept)
        .collect())
}
