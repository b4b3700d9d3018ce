//! The API server as a source of truth: lists and follows the pods of this node and all namespaces,
//! asks for single pods, and hands what it hears to the pure state of `node-agent-enrollment`.
//!
//! It refuses to decide anything about a pod, to forget what it knew because a connection ended, and
//! to wait without a limit: each request has one. It owns the connection to the API server, the
//! client's credentials, and the one state that its facts go into; others see rosters.
//!
//! Lists and watches are followed here and not by `kube::runtime::watcher`: that does not say when a
//! watch is up again although nothing changed, and waits for lists without a limit.

#![forbid(unsafe_code)]

mod access;
mod ask;
mod backoff;
mod follow;
mod keeper;
mod link;
mod objects;
mod occupants;
mod problem;
mod tell;

#[cfg(test)]
mod scripted;
#[cfg(test)]
mod tests;

pub use access::{Access, AccessError, SERVICE_ACCOUNT};
pub use keeper::{ClusterHandle, ClusterSettings, Start, start, until_whole};
pub use link::{Link, LinkStatus, Status};
pub use occupants::NobodyTells;
pub use tell::{TellError, Warning};
