//! What survives the process, on disk: read once at start. The table of enrolled pods is written by
//! one thread.
//!
//! A write is a new file, renamed over the old one, which stays as `pods.json.previous`. Writes
//! that are asked for while one is under way are answered by the next one together.
//!
//! An ADD waits for the rename and not for the disk: from then on every successor of this process
//! finds the pod, however this process dies. Only a crash of the whole node could lose the file,
//! and that takes all the network namespaces it speaks of with it. The disk is flushed all the
//! same once writes pause, so that what is found after such a crash is whole.

mod document;
mod file;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use document::Document;
pub(crate) use file::{StateDir, StateError};
pub(crate) use writer::{Generation, NotDurable, StateWriter};
