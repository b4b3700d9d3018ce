//! What a holder is started with.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use node_agent_confine::Confinement;
use node_agent_handover::{Site, Spoken};
use node_agent_namespace::Whereabouts;

/// The program that a holder starts as its worker.
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    /// Its arguments, without its name. It is this program.
    pub arguments: Vec<OsString>,
    /// What it may do.
    pub confinement: Confinement,
}

/// What a holder is started with.
#[derive(Debug, Clone)]
pub struct HolderSettings {
    /// The well-known socket at which successors ask.
    pub door: PathBuf,
    /// The plugin's socket, unless a foreign agent drives.
    pub plugin: Option<PathBuf>,
    /// The sites and where they listen.
    pub sites: Vec<(Site, SocketAddr)>,
    /// The worker.
    pub worker: WorkerProgram,
    /// A worker that gives no sign of life for this long is killed and replaced.
    pub worker_deadline: Duration,
    /// How long connections may go on once a stop was asked for and no successor serves.
    pub drain_deadline: Duration,
    /// How long they may go on once one does.
    pub succession_deadline: Duration,
    /// How long to serve on for a successor after SIGTERM, while the main process ends at once.
    pub linger: Duration,
    /// Where to look for pods that run.
    pub places: Whereabouts,
    /// The versions to speak with predecessors and successors.
    pub spoken: Spoken,
    /// This build, for the log.
    pub build: String,
}
