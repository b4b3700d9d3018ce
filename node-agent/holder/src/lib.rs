//! The holder: the small process that outlives the one which moves bytes.
//!
//! It enters pods' namespaces, keeps them open together with every listener of the agent, makes
//! sockets in them, and starts, watches and replaces the worker, which has no capabilities. It
//! refuses to read a single byte that comes from a network, to hold a key, to speak TLS, to know
//! Kubernetes, to decide anything about a pod or a connection, and to start a thread. It owns the
//! capabilities, the namespaces, the listeners, the worker's life and the passing of all of them
//! to a successor: no listener is ever closed in between, so connections wait in queues instead
//! of being refused.
//!
//! ```text
//!   start ──► answer at the door? ── nobody ─────────► bind, start a worker
//!                │ a holder: it passes all, then retires    │ an orphaned worker: adopt it
//!                ▼                                          ▼
//!             start a worker ──serving──► own the door ──► watch, answer, restart
//! ```
//!
//! Work in a namespace that takes long is done by a hand: a child that is forked for it, which is
//! sound because there is no other thread, and which ends with it.

mod answers;
mod channel;
mod door;
mod former;
mod hand;
mod holder;
mod listeners;
mod poll;
mod process;
mod settings;
mod signals;
mod stop;
mod succession;
mod successor;
mod supervise;
mod worker;

pub use channel::{Channel, ChannelError, Received};
pub use door::{Door, DoorError};
pub use holder::{Ended, HolderError, run};
pub use listeners::{ListenError, bind_plugin, bind_site};
pub use process::own_descriptor;
pub use settings::{HolderSettings, WorkerProgram};
pub use worker::inherited_link;

#[cfg(test)]
mod tests;
