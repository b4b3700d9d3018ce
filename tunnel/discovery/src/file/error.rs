use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tunnel_model::document::Mistake;

/// Why a mesh file is not in force.
#[derive(Debug, thiserror::Error)]
pub enum MeshFileError {
    /// Its directory cannot be watched.
    #[error("cannot watch the directory of {}: {error}; it must exist and be readable", path.display())]
    Watch {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is larger than any mesh this is meant for.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest that is read.
        limit: u64,
    },
    /// It is not a document of the right shape.
    #[error("{} is not a mesh document: {what}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        what: String,
    },
    /// It has the right shape and mistakes in it.
    #[error("{} has {} mistakes: {}", path.display(), mistakes.len(), Joined(mistakes))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// All of them.
        mistakes: Vec<Mistake>,
    },
    /// The process is stopping.
    #[error("reading was interrupted: {0}")]
    Interrupted(String),
}

impl MeshFileError {
    /// Says it to the operator, one line for each thing to mend.
    pub(super) fn log(&self, path: &Path) {
        let path = path.display();
        if let Self::Mistakes { mistakes, .. } = self {
            for mistake in mistakes {
                tracing::error!(%path, place = %mistake.place, what = %mistake.what, "mistake in mesh file");
            }
            let count = mistakes.len();
            tracing::error!(%path, count, "mesh file has mistakes, the state before it stays in force");
        } else {
            tracing::error!(%path, error = %self, "mesh file not read, the state before it stays in force");
        }
    }
}

struct Joined<'a>(&'a [Mistake]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}
