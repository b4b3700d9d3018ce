use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_saphyr::Options;
use tunnel_model::MeshState;
use tunnel_model::document::Document;

use super::MeshFileError;

/// Many times the largest mesh.
const LARGEST: u64 = 256 * 1024 * 1024;

/// What tells one content of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of the file a path leads to now; none when it leads nowhere.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata: Metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// Reads a file and all it says, away from the threads that serve connections.
pub(super) async fn load(path: PathBuf) -> Result<MeshState, MeshFileError> {
    let read = tokio::task::spawn_blocking(move || {
        let text = text(&path)?;
        parse_document(&text, &path)
    });
    read.await
        .map_err(|error| MeshFileError::Interrupted(error.to_string()))?
}

fn text(path: &Path) -> Result<String, MeshFileError> {
    let failed = |error: io::Error| MeshFileError::Read {
        path: path.to_owned(),
        error,
    };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    let size = file
        .take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if size as u64 > LARGEST {
        return Err(MeshFileError::TooLarge {
            path: path.to_owned(),
            limit: LARGEST,
        });
    }
    Ok(text)
}

/// Reads the text of a mesh document, YAML or JSON; `path` is for the error.
///
/// # Errors
/// When it has the wrong shape, or mistakes: all of them.
pub fn parse_document(text: &str, path: &Path) -> Result<MeshState, MeshFileError> {
    let wrong = |what| MeshFileError::Shape {
        path: path.to_owned(),
        what,
    };
    let document: Document = serde_saphyr::from_str_with_options(text, options(text))
        .map_err(|error| wrong(one_line(&error.without_snippet().to_string())))?;
    if document.workloads.is_none() && document.services.is_none() && document.policies.is_none() {
        // A file caught between being emptied and being written must not take every policy away.
        return Err(wrong(
            "it has none of workloads, services and policies".to_owned(),
        ));
    }
    let mistakes = |mistakes| MeshFileError::Mistakes {
        path: path.to_owned(),
        mistakes,
    };
    document.into_state().map_err(mistakes)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The reader's limits are for small configuration files; here the text's own length, which is
/// bounded, bounds what plain text can hold, and aliases, which could multiply it, stay limited.
fn options(text: &str) -> Options {
    let room = text.len().saturating_add(1024);
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: room,
            max_events: room.saturating_mul(2),
            max_total_scalar_bytes: room,
            max_documents: 1,
        },
    }
}
