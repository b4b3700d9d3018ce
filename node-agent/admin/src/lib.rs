//! Serves the agent's three small HTTP interfaces: administration, readiness and metrics.
//! It refuses to know what it serves: pages come from closures, and nothing a client sends beyond
//! method, path and query is looked at.
//! It owns the sockets it is given to listen on, the bounds on connections, bytes and time, and the set of tasks
//! that readiness waits for.

#![forbid(unsafe_code)]

mod pages;
mod readiness;
mod server;
mod site;

#[cfg(test)]
mod tests;

pub use pages::{AdminPages, ExplainPage, LoggingPage, admin_site, metrics_site, readiness_site};
pub use readiness::{PendingTask, Readiness};
pub use server::{Listener, Stop};
pub use site::{Answer, Answering, Site};
