//! What the tunnel believes about the mesh: identities, workloads, services, policies, and an
//! immutable indexed snapshot of them all, plus the document they may be read from.
//! It refuses to decide anything, to reach a file, a socket or a clock, and to guess at what a
//! malformed document meant: every mistake is named with its place.
//! It owns the vocabulary every other part of the tunnel speaks.

#![forbid(unsafe_code)]

mod address;
pub mod document;
mod flag;
mod gateway;
mod identity;
mod intern;
mod keys;
mod matching;
mod parties;
mod policy;
mod service;
mod snapshot;
mod state;
mod workload;

pub use address::{HboneTarget, NextHop, OriginalDst, SourceAddr, canonical_address};
pub use flag::ResponseFlag;
pub use gateway::{GatewayAddress, GatewayDestination, NetworkAddress};
pub use identity::{Identity, IdentityError};
pub use intern::Interner;
/// The address block type used by services and policies.
pub use ipnetwork::IpNetwork;
pub use keys::{PodUid, PolicyKey, ServiceKey};
pub use matching::{Match, ServiceAccountMatch, StringMatch};
pub use parties::Parties;
pub use policy::{Action, Clause, Policy, PolicyRules, Rule, Scope};
pub use service::{
    BalancingMode, HealthPolicy, IpFamilies, LoadBalancing, RoutingScope, Service, ServicePort,
    Visibility, WeightedWaypoint,
};
pub use snapshot::{Endpoint, Snapshot, SnapshotBuilder};
pub use state::{MeshChanges, MeshState};
pub use workload::{
    ApplicationTunnel, Health, Locality, NetworkMode, PortMap, Protocol, ServicePorts,
    TunnelProxying, Workload, WorkloadTraits, WorkloadType,
};

#[cfg(test)]
mod tests;
