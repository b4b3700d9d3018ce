//! Says which packets of a pod go to the tunnel: the packet rules, the route and the routing rule
//! that a pod's network namespace needs, the text that installs or removes them, and how what the
//! kernel shows differs from what was asked for.
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
//! was already open counts as a first packet, so enrolling a *running* pod needs one more rule in
//! front (`tcp`, not SYN: leave alone). The plan carries a version so that such a rule can be added
//! without an older plugin installing half of it.

#![forbid(unsafe_code)]

mod canonical;
mod difference;
mod drift;
mod dump;
mod plan;
mod render;
mod rules;

pub use difference::Drift;
pub use plan::{
    Backend, Family, LocalRoute, PLAN_VERSION, PlanError, RedirectPlan, RoutingRule, marks, ports,
};
pub use rules::{CHAIN_OUTPUT, CHAIN_PREROUTING, PacketRule, Table};

#[cfg(test)]
mod tests;
