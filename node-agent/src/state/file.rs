//! The state files and their directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::document::Document;

/// The state directory could not be used: the operator must see to the disk or the permissions.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub(crate) struct StateError {
    action: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// What was found at start.
#[derive(Debug)]
pub(crate) struct Loaded<D> {
    /// What a former run wrote.
    pub(crate) document: D,
    /// What was wrong, for the operator; each was set aside, none was repaired by guessing.
    pub(crate) complaints: Vec<String>,
}

/// The state directory.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    path: PathBuf,
}

impl StateDir {
    /// Opens the directory, creating it for root alone.
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let fail = failing("create", path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(fail)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Reads a document: the current file, or, if that is damaged, the previous one.
    pub(crate) fn load<D: Document>(&self) -> Result<Loaded<D>, StateError> {
        let mut complaints = Vec::new();
        for name in [D::NAME, &previous::<D>()] {
            let path = self.path.join(name);
            let bytes = match std::fs::read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failing("read", &path)(error)),
            };
            match D::decode(&bytes) {
                Ok(document) => {
                    return Ok(Loaded {
                        document,
                        complaints,
                    });
                }
                Err(why) => complaints.push(self.set_aside(name, &why)?),
            }
        }
        Ok(Loaded {
            document: D::empty(),
            complaints,
        })
    }

    /// Writes a document so that whoever reads it, at any instant, finds a whole file.
    pub(crate) fn store<D: Document>(&self, document: &D) -> Result<(), StateError> {
        let (new, current, previous) = (
            self.path.join(format!("{}.new", D::NAME)),
            self.path.join(D::NAME),
            self.path.join(previous::<D>()),
        );
        let bytes = document
            .encode()
            .map_err(io::Error::other)
            .map_err(failing("encode", &new))?;
        write_private(&new, &bytes).map_err(failing("write", &new))?;
        keep_previous(&current, &previous).map_err(failing("keep", &previous))?;
        std::fs::rename(&new, &current).map_err(failing("replace", &current))
    }

    /// Brings what was written to the disk.
    pub(crate) fn flush<D: Document>(&self) -> Result<(), StateError> {
        let current = self.path.join(D::NAME);
        let flush = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        flush(&current).map_err(failing("flush", &current))?;
        flush(&self.path).map_err(failing("flush", &self.path))
    }

    /// Whether an agent was ready here before. The directory does not outlive the node's boot.
    pub(crate) fn was_ready(&self) -> bool {
        self.path.join(READY).exists()
    }

    /// Says so to those that come after.
    pub(crate) fn note_ready(&self) -> Result<(), StateError> {
        let path = self.path.join(READY);
        write_private(&path, b"").map_err(failing("write", &path))
    }

    fn set_aside(&self, name: &str, why: &str) -> Result<String, StateError> {
        let (from, to) = (
            self.path.join(name),
            self.path.join(format!("{name}.damaged")),
        );
        std::fs::rename(&from, &to).map_err(failing("set aside", &from))?;
        Ok(format!(
            "{}: {why}; set aside as {}",
            from.display(),
            to.display()
        ))
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(bytes)
}

fn keep_previous(current: &Path, previous: &Path) -> io::Result<()> {
    let absent_is_fine = |outcome: io::Result<()>| match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    absent_is_fine(std::fs::remove_file(previous))?;
    absent_is_fine(std::fs::hard_link(current, previous))
}

/// A file whose presence says that an agent was ready since the node's boot.
const READY: &str = "ready";

fn failing(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError + use<> {
    let path = path.to_owned();
    move |source| StateError {
        action,
        path,
        source,
    }
}

fn previous<D: Document>() -> String {
    format!("{}.previous", D::NAME)
}
