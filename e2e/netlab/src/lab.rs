//! A whole lab: made in parallel where that saves time, removed as a whole.

use crate::agent::{self, AgentFiles, AgentOptions, DevelopmentCa};
use crate::binaries::Binaries;
use crate::capture::Capture;
use crate::cni::Cni;
use crate::mesh::Mesh;
use crate::netns::Netns;
use crate::node::Node;
use crate::pod::Pod;
use crate::podspec::PodSpec;
use crate::process::ProcessId;
use crate::record::{LabRecord, PREFIX, home};
use crate::sweep::{Sweep, remove_lab, sweep};
use crate::topology::{self, Place};
use crate::{containerd, image, mesh, wait};
use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Tells the labs of one process apart.
static SERIAL: AtomicU32 = AtomicU32::new(0);

/// What a lab is made from.
#[derive(Clone, Debug)]
pub struct LabOptions {
    /// The nodes' names, short.
    pub nodes: Vec<String>,
    /// The pods' program, static.
    pub podkit: PathBuf,
    /// Agent and plugin; without them the lab is a plain network.
    pub agents: Option<AgentOptions>,
    /// Which other labs to take away first.
    pub sweep: Sweep,
}

impl LabOptions {
    /// Two nodes, a and b, with agents as they come.
    #[must_use]
    pub fn two_nodes(binaries: &Binaries, sweep: Sweep) -> Self {
        Self {
            nodes: vec!["a".to_owned(), "b".to_owned()],
            podkit: binaries.podkit.clone(),
            agents: Some(AgentOptions {
                agent: binaries.agent.clone(),
                plugin: binaries.plugin.clone(),
                settings: serde_json::Map::new(),
            }),
            sweep,
        }
    }
}

/// A running lab; dropping it removes it unless it was kept.
#[derive(Debug)]
pub struct Lab {
    record: LabRecord,
    directory: PathBuf,
    switch: Option<Netns>,
    nodes: Vec<Node>,
    pods: Mutex<Vec<Pod>>,
    removed: bool,
}

impl Lab {
    /// Removes what others left behind, then makes nodes with running containerds. Agents are not started yet.
    ///
    /// # Errors
    /// Something cannot be made; what was made is removed again.
    pub fn up(options: &LabOptions) -> Result<Self> {
        sweep(options.sweep).context("removing an earlier lab")?;
        let owner = ProcessId::own()?;
        let name = format!(
            "{PREFIX}{}x{}",
            owner.pid,
            SERIAL.fetch_add(1, Ordering::Relaxed)
        );
        let record = LabRecord {
            name: name.clone(),
            owner,
            kept: false,
            nodes: Vec::new(),
        };
        // Under another name until its record is whole: a directory without one counts as abandoned.
        let (fresh, directory) = (home()?.join(format!("new-{name}")), home()?.join(&name));
        std::fs::create_dir_all(&fresh)?;
        record.write(&fresh)?;
        std::fs::rename(&fresh, &directory)?;
        let mut lab = Self {
            record,
            directory,
            switch: None,
            nodes: Vec::new(),
            pods: Mutex::default(),
            removed: false,
        };
        lab.build(options)?;
        Ok(lab)
    }

    fn build(&mut self, options: &LabOptions) -> Result<()> {
        let archive = self.directory.join("podkit.tar");
        image::write(&options.podkit, &archive)?;
        let ca = mesh::make_ca(&self.directory)?;
        let switch = topology::make_switch(&format!("{}-net", self.record.name))?;
        let numbers = 1..=u8::try_from(options.nodes.len())?;
        let places: Vec<Place> = numbers.map(Place).collect();
        let maker = Maker {
            lab: &self.record.name,
            directory: &self.directory,
            options,
            archive: &archive,
            ca: &ca,
        };
        let named: Vec<_> = options.nodes.iter().zip(&places).collect();
        self.nodes = in_parallel(&named, |(node, place)| {
            maker.node(&switch, node, **place, &places)
        })?;
        self.switch = Some(switch);
        self.write_record()
    }

    /// Its name: of its directory, and the beginning of all names that it gave.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Its scratch directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// All nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        self.nodes
            .iter()
            .find(|node| node.name() == name)
            .with_context(|| format!("no node {name}"))
    }

    /// Makes pods on their nodes, all at once; the order of the answer is that of the question.
    ///
    /// # Errors
    /// The first that fails.
    pub fn run_pods(&self, pods: &[(&str, PodSpec)]) -> Result<Vec<Pod>> {
        let made = in_parallel(pods, |(node, spec)| self.node(node)?.run_pod(spec))?;
        self.pods().extend_from_slice(&made);
        self.write_record()?;
        Ok(made)
    }

    /// Starts all agents, all at once.
    ///
    /// # Errors
    /// The first that fails.
    pub fn start_agents(&self) -> Result<()> {
        in_parallel(&self.nodes, Node::start_agent).map(|_| ())
    }

    /// Gives every agent this word on the mesh; what it says of pods is in force with the next ADD.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn write_mesh(&self, mesh: &Mesh) -> Result<()> {
        self.nodes.iter().try_for_each(|node| {
            mesh.write(&node.name, &node.agent_files.pods, &node.agent_files.mesh)
        })
    }

    /// As [`Lab::write_mesh`], then waits until every agent knows all its workloads.
    ///
    /// # Errors
    /// An agent does not take it.
    pub fn publish_mesh(&self, mesh: &Mesh) -> Result<()> {
        self.write_mesh(mesh)?;
        let ips = mesh.workload_ips();
        self.nodes
            .iter()
            .try_for_each(|node| node.wait_for_workloads(&ips))
    }

    /// Captures everything that passes between a node and the others.
    ///
    /// # Errors
    /// The capture cannot be started.
    pub fn capture(&self, node: &str) -> Result<Capture> {
        self.capture_into(node, node)
    }

    /// The same into a file of this name: captures with different ones may overlap.
    ///
    /// # Errors
    /// The capture cannot be started.
    pub fn capture_into(&self, node: &str, name: &str) -> Result<Capture> {
        let switch = self.switch.as_ref().context("the lab has no switch")?;
        let file = self.directory.join(format!("{name}.pcap"));
        Capture::start(switch, self.node(node)?, &file)
    }

    fn pods(&self) -> MutexGuard<'_, Vec<Pod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_record(&self) -> Result<()> {
        let pods = self.pods();
        let nodes = self.nodes.iter().map(|node| node.record(&pods)).collect();
        LabRecord {
            nodes,
            ..self.record.clone()
        }
        .write(&self.directory)
    }

    /// Leaves it up when this process ends.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn keep(mut self) -> Result<LabRecord> {
        self.record.kept = true;
        self.write_record()?;
        self.removed = true;
        LabRecord::read(&self.directory)
    }

    /// Removes it.
    ///
    /// # Errors
    /// Something of it stays.
    pub fn down(mut self) -> Result<()> {
        self.removed = true;
        remove_lab(&self.record.name)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = remove_lab(&self.record.name)
        {
            use std::io::Write;
            // The next run's sweep tries again and fails aloud.
            drop(writeln!(
                std::io::stderr(),
                "removing {}: {error:#}",
                self.record.name
            ));
        }
    }
}

/// What all nodes are made with.
struct Maker<'a> {
    lab: &'a str,
    directory: &'a Path,
    options: &'a LabOptions,
    archive: &'a Path,
    ca: &'a DevelopmentCa,
}

impl Maker<'_> {
    fn node(&self, switch: &Netns, name: &str, place: Place, all: &[Place]) -> Result<Node> {
        wait::check()?;
        let full = format!("{}-{name}", self.lab);
        let directory = self.directory.join(name);
        std::fs::create_dir_all(directory.join("pods"))?;
        let netns = topology::make_node(switch, &full, name, place, all)?;
        let cni = Cni::create(&directory.join("cni"), place)?;
        let agent_files = AgentFiles::create(&directory.join("agent"))?;
        let agents = &self.options.agents;
        if let Some(agents) = agents {
            cni.add_plugin(&agents.plugin)?;
            agent::configure(name, &agent_files, self.ca, &agents.settings)?;
        }
        let containerd =
            containerd::start(&netns, &directory.join("containerd"), &cni, self.archive)
                .with_context(|| format!("node {name}"))?;
        let node = Node {
            name: name.to_owned(),
            place,
            netns,
            directory,
            cgroup: format!("/{full}"),
            cni,
            containerd,
            agent_files,
            agent_options: agents.clone(),
            agents: Mutex::default(),
            ca: self.ca.clone(),
        };
        let nothing: Value = json!({});
        node.set_mesh_network(agents.is_some(), &nothing)?;
        Ok(node)
    }
}

/// The same for each, all at once; the first error wins.
fn in_parallel<I: Sync, T: Send>(
    items: &[I],
    work: impl Fn(&I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    thread::scope(|scope| {
        let running: Vec<_> = items
            .iter()
            .map(|item| scope.spawn(|| work(item)))
            .collect();
        let ended: Vec<Result<T>> = running
            .into_iter()
            .map(|one| {
                one.join()
                    .unwrap_or_else(|_| Err(anyhow!("a thread of the lab panicked")))
            })
            .collect();
        ended.into_iter().collect()
    })
}
