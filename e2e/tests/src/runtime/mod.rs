//! What the tests with real containerds stand on besides the lab: foreign CNI programs, the plugin chain executed as a
//! runtime's library does, what a runtime really asked of ours, tables of cells, percentiles.

mod chain;
mod sandbox;
mod spy;
mod stats;
mod table;

pub use chain::{Added, Network, Ran, execute};
pub use sandbox::{Sandbox, listeners, our_rules};
pub use spy::{Seen, Spy};
pub use stats::Times;
pub use table::Table;

use anyhow::{Context, Result, ensure};
use e2e_netlab::mesh::Mesh;
use e2e_netlab::{AgentOptions, Binaries, Lab, LabOptions, Sweep};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// The namespace whose pods are in the mesh.
pub const MESHED: &str = "meshed";
/// A namespace that is not.
pub const PLAIN: &str = "plain";

/// A lab with agents that are told of this mesh and run.
///
/// # Errors
/// Something is missing, or does not start.
pub fn lab(nodes: &[&str], mesh: &Mesh) -> Result<Lab> {
    lab_with(nodes, mesh, &Map::new())
}

/// The same, with settings that differ from the lab's.
///
/// # Errors
/// Something is missing, or does not start.
pub fn lab_with(nodes: &[&str], mesh: &Mesh, settings: &Map<String, Value>) -> Result<Lab> {
    let binaries = Binaries::from_env()?;
    let lab = Lab::up(&LabOptions {
        nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
        podkit: binaries.podkit,
        agents: Some(AgentOptions {
            agent: binaries.agent,
            plugin: binaries.plugin,
            settings: settings.clone(),
        }),
        sweep: Sweep::Abandoned,
    })?;
    lab.write_mesh(mesh)?;
    lab.start_agents()?;
    Ok(lab)
}

/// Both namespaces, and nothing in them yet.
#[must_use]
pub fn namespaces() -> Mesh {
    let mut mesh = Mesh::default();
    mesh.namespace(MESHED, true);
    mesh.namespace(PLAIN, false);
    mesh
}

/// A foreign CNI program: `cnitool`, or a reference plugin that speaks all versions of the specification.
///
/// # Errors
/// It is not there; the error says how to get it.
pub fn peer(name: &str) -> Result<PathBuf> {
    let directory = std::env::var_os("AMBIENT_CNI_PEERS").context(
        "AMBIENT_CNI_PEERS is not set: `hack/test runtime` builds cnitool and the reference plugins and sets it \
         (build_cni_peers in hack/lib.sh; it needs Go 1.24)",
    )?;
    let file = PathBuf::from(directory).join(name);
    ensure!(
        file.is_file(),
        "{} is not there: build_cni_peers in hack/lib.sh makes it (it needs Go 1.24)",
        file.display()
    );
    Ok(file)
}
