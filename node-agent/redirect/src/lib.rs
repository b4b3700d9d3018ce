//! Says which packets of a pod go to the tunnel: the packet rules, the route and the routing rule
//! that a pod's network namespace needs, the text that installs or removes them, and how what the
//! kernel shows differs from what was asked for.
//!
//! It also says which rules of the node's own namespace exempt the node's probes from that.
//!
//! It refuses to touch anything: no process is started, no socket opened, no file read, and no
//! chain or rule that is not ours is ever named in the text it renders.
//!
//! It owns [`RedirectPlan`], the one description of a pod's redirection that the agent writes down
//! and the plugin obeys.
//!
//! # Established connections
//!
//! The nat table sees the first packet of what connection tracking holds to be a connection. In a
//! namespace where tracking starts together with the rules, the next packet of a connection that
//! was already open counts as a first packet, minutes later if it was silent so long, and would be
//! redirected into nothing. So the plan of a pod that is enrolled while it *runs* names the
//! connections to be spared, and packets of exactly these that are no SYN pass first. A rule that
//! spared everything that is no SYN would let bytes of a captured connection out in clear if its
//! tracking entry were lost.
//!
//! The list must be taken when tracking is on already and capture is not: what opens after that is
//! tracked from its SYN on, untranslated, and stays so.

#![forbid(unsafe_code)]

mod canonical;
mod difference;
mod drift;
mod dump;
mod exempt;
mod plan;
mod render;
mod rules;
mod spared;
mod validate;

pub use difference::Drift;
pub use exempt::{CHAIN_NODE, Exemption, backend_of_the_node};
pub use plan::{
    Backend, Capture, Family, LocalRoute, PLAN_VERSION, RedirectPlan, RoutingRule, marks, ports,
};
pub use rules::{CHAIN_OUTPUT, CHAIN_PREROUTING, PacketRule, Table};
pub use spared::{Connection, MAX_SPARED, Owner, Spared, served, to_spare};
pub use validate::PlanError;

#[cfg(test)]
mod tests;
