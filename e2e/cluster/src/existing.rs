//! A cluster that somebody else made, reached by its kubeconfig.

use crate::kubectl::Kubectl;
use anyhow::{Context, Result, ensure};
use e2e_netlab::{program, run};
use std::path::{Path, PathBuf};

/// What is known of it.
#[derive(Debug)]
pub struct Existing {
    pub(crate) kubectl: Kubectl,
    import: Option<PathBuf>,
}

impl Existing {
    /// By a kubeconfig. `import`: a program that brings an image archive, its only argument, to all nodes.
    ///
    /// # Errors
    /// The file is not there.
    pub fn new(kubeconfig: &Path, import: Option<PathBuf>) -> Result<Self> {
        let kubeconfig = kubeconfig
            .canonicalize()
            .with_context(|| kubeconfig.display().to_string())?;
        let path = std::env::var("PATH").unwrap_or_default();
        let peers = std::env::var("AMBIENT_CLUSTER_PEERS").unwrap_or_default();
        Ok(Self {
            kubectl: Kubectl {
                prefix: Vec::new(),
                path: format!("{peers}:{path}"),
                kubeconfig,
            },
            import,
        })
    }

    /// The one that `AMBIENT_KUBECONFIG` names, with the program that `AMBIENT_CLUSTER_IMPORT` names.
    ///
    /// # Errors
    /// The file is not there.
    pub fn from_env() -> Result<Option<Self>> {
        let Some(kubeconfig) = std::env::var_os("AMBIENT_KUBECONFIG") else {
            return Ok(None);
        };
        let import = std::env::var_os("AMBIENT_CLUSTER_IMPORT").map(PathBuf::from);
        Self::new(Path::new(&kubeconfig), import).map(Some)
    }

    pub(crate) fn import_image(&self, archive: &Path) -> Result<()> {
        ensure!(archive.is_file(), "{} is not there", archive.display());
        let import = self.import.as_ref().context(
            "this cluster's nodes cannot be reached: name a program that imports an image archive \
             in AMBIENT_CLUSTER_IMPORT",
        )?;
        run(program(import).arg(archive)).map(drop)
    }
}
