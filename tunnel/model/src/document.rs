//! The document a mesh may be read from: workloads, policies and services in the shape of
//! upstream's local file and configuration dump, camelCase, anything missing at its default.
//!
//! Unknown fields are refused, since a mistyped `authorizationPolicies` would otherwise attach no
//! policy at all. Reading text into these types is left to whoever has the text.

mod convert;
mod mistake;
mod parse;
mod policy;
mod service;
mod shape;
mod workload;

pub use mistake::Mistake;
pub use shape::{
    ApplicationTunnelDocument, ClauseDocument, Document, GatewayDocument, LoadBalancerDocument,
    LocalityDocument, MatchDocument, PolicyDocument, Port, ServiceAccountDocument, ServiceDocument,
    StringMatchDocument, WeightedWaypointDocument, WorkloadDocument,
};

#[cfg(test)]
mod tests;
