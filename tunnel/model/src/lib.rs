//! The mesh as the data plane sees it: identities, workloads, services, policies, and the
//! immutable snapshot of them that every decision is taken on.
//!
//! It refuses to decide, to do I/O and to know where the facts come from. It owns the vocabulary:
//! addresses by the part they play, identities, response flags, and the documents in which the
//! facts are written.

#![forbid(unsafe_code)]

mod address;
mod flag;
mod identity;
mod parties;
mod policy;
mod service;
mod workload;

pub use address::{HboneTarget, NextHop, OriginalDst, PodUid, SourceAddr};
pub use flag::ResponseFlag;
pub use identity::{Identity, ParseIdentityError};
pub use parties::Parties;
pub use policy::{
    Clause, Match, Policy, PolicyAction, PolicyKey, PolicyRules, PolicyScope, Rule,
    ServiceAccountMatch, StringMatch,
};
pub use service::{
    GatewayAddress, GatewayDestination, IpFamilies, LoadBalancer, LoadBalancerMode, NetworkAddress,
    NetworkRange, Scope, Service, ServiceKey,
};
pub use workload::{
    ApplicationTunnel, Health, Locality, PortMap, Protocol, Workload, WorkloadType,
};
