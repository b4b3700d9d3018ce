//! What the tests of the shipped programs in throw-away network namespaces stand on: pods on one wire, an agent, calls of
//! the plugin as a runtime makes them, hostile and foreign peers.
//! It refuses to skip: what is missing is an error that says how to get it, and every wait has a deadline.
//! It owns the namespaces, processes and files it makes and removes them, also when a test panics.

#![forbid(unsafe_code)]

pub mod agent;
pub mod app;
pub mod continuity;
pub mod envoy;
pub mod frames;
pub mod hostile;
pub mod inside;
pub mod istiod;
pub mod load;
pub mod mesh;
pub mod netns;
pub mod plugin;
pub mod programs;
pub mod pulse;
pub mod relay;
pub mod runtime;
pub mod siege;
pub mod tempo;
pub mod usage;
pub mod wire;
pub mod world;

pub use agent::Agent;
pub use plugin::{Answer, Call};
pub use world::{Pod, World};

use anyhow::Result;
use std::time::Duration;

/// How long anything may take that should take no time.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until there is an answer.
///
/// # Errors
/// There is none in time; the last "not yet" is in the error.
pub fn until<T>(what: &str, ask: impl FnMut() -> Result<T>) -> Result<T> {
    e2e_netlab::wait::until(what, PATIENCE, ask)
}
