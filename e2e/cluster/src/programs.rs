//! Where the programs of a cluster are.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// What a cluster is made of, built beforehand.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Directories with the peers, as `build_cluster_peers` of `hack/peers.sh` prints them.
    pub peers: Vec<PathBuf>,
    /// `podkit`, static: what runs in pods.
    pub podkit: PathBuf,
}

impl Programs {
    /// From `AMBIENT_CLUSTER_PEERS` and `AMBIENT_BIN`, which `hack/test cluster` sets.
    ///
    /// # Errors
    /// One is not set, or a program is missing.
    pub fn from_env() -> Result<Self> {
        let read = |name: &str| {
            std::env::var(name).with_context(|| format!("{name} is not set: hack/test sets it"))
        };
        let absolute = |path: &str| {
            Path::new(path)
                .canonicalize()
                .with_context(|| path.to_owned())
        };
        let peers = read("AMBIENT_CLUSTER_PEERS")?;
        let podkit = absolute(&read("AMBIENT_BIN")?)?.join("podkit");
        ensure!(podkit.is_file(), "{} is not there", podkit.display());
        Ok(Self {
            peers: peers.split(':').map(absolute).collect::<Result<_>>()?,
            podkit,
        })
    }

    /// A peer's file.
    ///
    /// # Errors
    /// No set has it.
    pub fn peer(&self, name: &str) -> Result<PathBuf> {
        let mut files = self.peers.iter().map(|directory| directory.join(name));
        files
            .find(|file| file.is_file())
            .with_context(|| format!("{name} is in none of {:?}", self.peers))
    }
}
