//! Where the programs under test are.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// The three programs of a lab, built beforehand.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `ambient-agent`
    pub agent: PathBuf,
    /// `ambient-cni`
    pub plugin: PathBuf,
    /// `podkit`, static
    pub podkit: PathBuf,
}

impl Binaries {
    /// All three in one directory; the build helper of `hack/lib.sh` makes such a one.
    ///
    /// # Errors
    /// One is missing.
    pub fn in_directory(directory: &Path) -> Result<Self> {
        let directory = directory
            .canonicalize()
            .with_context(|| format!("{}", directory.display()))?;
        let find = |name: &str| -> Result<PathBuf> {
            let file = directory.join(name);
            ensure!(
                file.is_file(),
                "{} is not there: build it first",
                file.display()
            );
            Ok(file)
        };
        Ok(Self {
            agent: find("ambient-agent")?,
            plugin: find("ambient-cni")?,
            podkit: find("podkit")?,
        })
    }

    /// From the directory that `AMBIENT_BIN` names.
    ///
    /// # Errors
    /// It is not set, or a program is missing.
    pub fn from_env() -> Result<Self> {
        let directory =
            std::env::var("AMBIENT_BIN").context("AMBIENT_BIN is not set: hack/test sets it")?;
        Self::in_directory(Path::new(&directory))
    }
}
