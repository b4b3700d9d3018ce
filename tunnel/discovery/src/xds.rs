//! The mesh as a control plane tells it, over the incremental variant of Envoy's discovery
//! protocol (delta xDS): asked for once, then only what changes.
//!
//! What is sent and what an answer means is computed in [`protocol`] and [`known`], from messages
//! alone; [`client`] connects, waits and publishes.

mod client;
mod convert;
mod known;
mod metrics;
mod news;
mod proto;
mod protocol;
mod status;

pub use client::{XdsClient, XdsParts};
pub use convert::ResourceType;
pub use protocol::NodeFacts;
pub use status::{Link, Nack, TypeStatus, XdsStatus};

#[cfg(test)]
mod tests;
