//! Learns what the mesh looks like, from a control plane or from a file that is read again whenever
//! it changes, merges it with the workloads of this node, and publishes each state as one immutable
//! snapshot.
//! It refuses to publish half of a document: a file with mistakes changes nothing, a control plane
//! is believed once it has told everything, resource by resource from then on, and what was known
//! before stays in force until there is something better.
//! It owns the one writer of snapshots and every handle to read them by.

#![forbid(unsafe_code)]

mod file;
mod store;
mod xds;

pub use file::{FileStatus, MeshFileError, WatchedFile, parse_document, watch_file};
pub use store::{MeshReader, MeshStore};
pub use xds::{Link, Nack, NodeFacts, ResourceType, TypeStatus, XdsClient, XdsParts, XdsStatus};
