//! Learns what the mesh looks like, from a file that is read again whenever it changes, merges it
//! with the workloads of this node, and publishes each state as one immutable snapshot.
//! It refuses to publish half of a document: a file with mistakes changes nothing, and what was
//! known before stays in force until the file is right again.
//! It owns the one writer of snapshots and every handle to read them by.

#![forbid(unsafe_code)]

mod file;
mod store;

pub use file::{FileStatus, MeshFileError, WatchedFile, parse_document, watch_file};
pub use store::{MeshReader, MeshStore};
