//! What can go wrong with installing, whose fault it is and what to do.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::refusal::Refusal;

/// A pass did not come to its end. What was done of it is whole, and the next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The runtime's configuration is left as it is.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node did not let us.
    #[error("cannot {doing} {}: {source}; {}", path.display(), advice(source))]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Somebody else was quicker; the next pass decides anew.
    #[error("{} was changed in the meantime", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A directory is not there.
    #[error(
        "{} is not there: choose the cniProfile of this kind of node, or set {setting}; in a \
         container it must be mounted below cniHostRoot",
        path.display()
    )]
    Missing {
        /// The directory, as we see it.
        path: PathBuf,
        /// The setting that names it.
        setting: &'static str,
    },
    /// There is no plugin to install. The image is at fault, or a setting.
    #[error("the plugin to install is not at {}: {source}; see cniPluginProgram", path.display())]
    NoProgram {
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be used.
        #[source]
        source: io::Error,
    },
    /// A later run of the installer has taken over; this one must not undo its work.
    #[error("a later installer has taken over this node")]
    Superseded,
    /// An installer runs, which would put everything back.
    #[error(
        "an installer runs on this node and would put everything back: stop it first (in a \
         cluster, delete its DaemonSet)"
    )]
    Busy,
}

impl InstallError {
    pub(crate) fn failed(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Failed {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the next attempt may well succeed within moments.
    pub(crate) const fn is_momentary(&self) -> bool {
        matches!(
            self,
            Self::Changed { .. } | Self::Refused(Refusal::Unfinished { .. })
        )
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EROFS) => {
            "the file system is read-only: choose the cniProfile of this kind of node, or mount the \
             directory writable"
        }
        Some(Errno::ENOSPC | Errno::EDQUOT) => {
            "nothing was changed; free some space, it is tried again by itself"
        }
        Some(Errno::EACCES | Errno::EPERM) => {
            "the installer must be root on the host (with DAC_OVERRIDE where others own the \
             directory, and under SELinux as spc_t)"
        }
        _ => "it is tried again by itself",
    }
}
