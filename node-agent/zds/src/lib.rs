//! ZDS, the tunnel's side: a foreign node agent drives our tunnel.
//!
//! Dials the agent's socket, takes pods and their namespaces from it, and answers each request
//! before the next. It refuses to decide which pods belong to the mesh, and to forget a pod only
//! because the agent went away: pods leave by request, or by not being named in a snapshot. It
//! owns the connection to the agent and the list of pods that came through it.

#![forbid(unsafe_code)]

mod message;
mod session;
mod wire;

pub use session::{AddedPod, Pods, ZdsError, run};

#[cfg(test)]
mod tests;
