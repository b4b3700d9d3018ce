//! What a cluster writes down about itself before it does it, for tear-down by somebody else.

use crate::limits::OldLimit;
use anyhow::{Context, Result, ensure};
use e2e_netlab::ProcessId;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

const FILE: &str = "cluster.json";
/// Every cluster's directory and cgroups begin so.
pub(crate) const PREFIX: &str = "ambc-";

/// A machine as written down. Its mounts and namespaces have no name outside and go with the process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MachineRecord {
    /// Its name.
    pub name: String,
    /// The process whose end is the machine's end.
    pub holder: ProcessId,
}

/// A cluster as written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Its name: of its directory, and the beginning of its cgroups' names.
    pub name: String,
    /// Whose it is.
    pub owner: ProcessId,
    /// Its machines.
    pub machines: Vec<MachineRecord>,
    /// What is to be put back.
    pub limits: Vec<OldLimit>,
}

impl ClusterRecord {
    /// Makes the directory of a new cluster, with the record in it.
    pub(crate) fn create(limits: Vec<OldLimit>) -> Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let owner = ProcessId::own()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let record = Self {
            name: format!("{PREFIX}{}-{number}", owner.pid),
            owner,
            machines: Vec::new(),
            limits,
        };
        std::fs::create_dir_all(record.directory()?)?;
        record.write()?;
        Ok(record)
    }

    /// Where it lives.
    ///
    /// # Errors
    /// The home of all clusters cannot be made.
    pub fn directory(&self) -> Result<PathBuf> {
        Ok(home()?.join(&self.name))
    }

    /// Writes it in one step.
    pub(crate) fn write(&self) -> Result<()> {
        let directory = self.directory()?;
        let fresh = directory.join("cluster.json.fresh");
        std::fs::write(&fresh, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&fresh, directory.join(FILE))?;
        Ok(())
    }

    /// Reads the one of a cluster's directory.
    ///
    /// # Errors
    /// There is none, or only half of one.
    pub fn read(directory: &Path) -> Result<Self> {
        let file = directory.join(FILE);
        let text = std::fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display()))
    }
}

/// Where clusters live; root's alone. Short, as Unix socket paths are bounded.
pub(crate) fn home() -> Result<PathBuf> {
    let home = PathBuf::from("/run/ambient-cluster");
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&home)
        .with_context(|| format!("making {} (a cluster needs root)", home.display()))?;
    ensure!(
        std::fs::metadata(&home)?.uid() == 0,
        "{} is not root's",
        home.display()
    );
    Ok(home)
}

/// The directories of all clusters, whole or half-made.
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
