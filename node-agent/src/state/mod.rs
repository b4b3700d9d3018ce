//! The table of enrolled pods on disk: read once at start, written by one thread.
//!
//! A write is a new file, flushed, renamed over the old one, and the directory flushed; the old
//! one stays as `pods.json.previous` in case the disk tears the new one after all. Writes that
//! are asked for while one is under way are answered by the next one together.

mod file;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use file::StateDir;
pub(crate) use writer::{Generation, NotDurable, StateWriter};
