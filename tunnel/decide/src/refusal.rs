use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tunnel_model::{Identity, Parties, PolicyKey, ResponseFlag};

/// Whose decision a refusal was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecidedBy {
    /// One policy's.
    Policy(PolicyKey),
    /// The workload's ALLOW policies', none of which matched.
    AllowPolicies,
    /// The check of the peer's identity against the owner of its address.
    Identity,
    /// The check that a stream is for this pod.
    Destination,
    /// Routing: the mesh has no way there.
    Routing,
    /// The protection against connections that would come back to the tunnel.
    LoopProtection,
    /// The protocol: the request makes no sense.
    Protocol,
}

impl fmt::Display for DecidedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(key) => write!(f, "policy {key}"),
            Self::AllowPolicies => f.write_str("allow policies"),
            Self::Identity => f.write_str("identity check"),
            Self::Destination => f.write_str("destination check"),
            Self::Routing => f.write_str("routing"),
            Self::LoopProtection => f.write_str("loop protection"),
            Self::Protocol => f.write_str("protocol"),
        }
    }
}

/// Why a connection is refused; its text is what the log says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusalReason {
    /// A policy refuses it.
    #[error("connection closed due to policy rejection: explicitly denied by: {0}")]
    DeniedByPolicy(PolicyKey),
    /// A policy that refuses something, but cannot be understood, refuses everything.
    #[error(
        "connection closed due to policy rejection: explicitly denied by: {policy} (which cannot be understood and so denies everything: {why})"
    )]
    DeniedByMalformedPolicy {
        /// The policy.
        policy: PolicyKey,
        /// What was not understood.
        why: Arc<str>,
    },
    /// Only what an ALLOW policy matches is let through, and none matches.
    #[error("connection closed due to policy rejection: allow policies exist, but none allowed")]
    NotAllowed,
    /// The workload names a policy that has not been received.
    #[error(
        "connection closed due to policy rejection: policy {0} is attached to the workload but has not been received"
    )]
    PolicyMissing(PolicyKey),
    /// The control plane has not told of the pod, so whatever may select it counts.
    #[error(
        "{0} (the control plane has not told of this pod yet, so policies that may select it apply)"
    )]
    Untold(Box<Self>),
    /// It was let through, and is refused by what applies since.
    #[error("connection closed due to policy change: {0}")]
    PolicyChange(Box<Self>),
    /// The peer shows another identity than the owner of the address it comes from.
    #[error("identity mismatch: {source_ip} belongs to {owner}, the peer is {peer}")]
    PeerIdentity {
        /// Where it comes from.
        source_ip: IpAddr,
        /// Whose address that is.
        owner: Identity,
        /// Whom it shows.
        peer: Identity,
    },
    /// The stream is for another address than the one the tunnel was made to.
    #[error("ip mismatch: {connection} != {authority}")]
    IpMismatch {
        /// The address the tunnel was made to.
        connection: IpAddr,
        /// The address the stream asks for.
        authority: IpAddr,
    },
    /// The authority is not an address or hostname with a port.
    #[error("invalid authority: {0:?}")]
    InvalidAuthority(String),
    /// The connection would come back to the tunnel.
    #[error("recursive call to self: {0}")]
    SelfCall(SocketAddr),
    /// Who is outside a pod cannot mean this address in it.
    #[error(
        "unreachable from outside: {0} is a loopback, unspecified or multicast address, which nobody outside the pod can call"
    )]
    NotFromOutside(IpAddr),
    /// Nothing is known under this hostname.
    #[error("no service for hostname: {0}")]
    UnknownHost(String),
    /// The service does not say which port of the pod serves this one.
    #[error("service port unresolvable: {service} port {port}")]
    ServicePort {
        /// The service.
        service: String,
        /// The port asked for.
        port: u16,
    },
    /// The service has no endpoint that may be chosen.
    #[error("no healthy upstream: {0}")]
    NoHealthyUpstream(SocketAddr),
    /// All that could be chosen is on another network.
    #[error(
        "no valid destination: {name} is on network {network:?}, and traffic between networks is not supported"
    )]
    OtherNetwork {
        /// The workload or service.
        name: String,
        /// Its network.
        network: String,
    },
    /// The destination has no address of a family that may be used.
    #[error("no resolved addresses for {0}")]
    NoAddress(String),
    /// The destination names a waypoint that is not known, or has no endpoint.
    #[error("unknown waypoint: {0}")]
    UnknownWaypoint(String),
    /// The address may be a pod's, and nobody can tell whose it is.
    #[error(
        "unknown destination: {ip} may be a pod's that the control plane has not told of, and it cannot be found out: {why}; nothing is sent there in clear"
    )]
    UnknownOccupant {
        /// The address.
        ip: IpAddr,
        /// Why not.
        why: Arc<str>,
    },
    /// The pod wants streams with a PROXY protocol header, which is not written yet.
    #[error("the workload's application tunnel asks for PROXY protocol, which is not supported")]
    ApplicationTunnel,
}

/// A refused connection: why, by whom, and who was to be connected.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Whose decision it was.
    pub by: DecidedBy,
    /// Why.
    pub reason: RefusalReason,
    /// Who was to be connected, as far as it was found out.
    pub parties: Parties,
}

impl Refusal {
    pub(crate) fn new(reason: RefusalReason, parties: Parties) -> Self {
        Self {
            by: reason.decided_by(),
            reason,
            parties,
        }
    }

    /// What metrics call it.
    #[must_use]
    pub fn flag(&self) -> ResponseFlag {
        match self.by {
            DecidedBy::Policy(_) | DecidedBy::AllowPolicies => ResponseFlag::Deny,
            DecidedBy::Identity => ResponseFlag::IdentityError,
            DecidedBy::Destination
            | DecidedBy::Routing
            | DecidedBy::LoopProtection
            | DecidedBy::Protocol => ResponseFlag::Connect,
        }
    }

    /// What the peer of a tunnel is answered.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self.by {
            DecidedBy::Policy(_) | DecidedBy::AllowPolicies | DecidedBy::Identity => 401,
            DecidedBy::Destination | DecidedBy::Protocol => 400,
            DecidedBy::Routing | DecidedBy::LoopProtection => 503,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl RefusalReason {
    fn decided_by(&self) -> DecidedBy {
        match self {
            Self::DeniedByPolicy(policy)
            | Self::DeniedByMalformedPolicy { policy, .. }
            | Self::PolicyMissing(policy) => DecidedBy::Policy(policy.clone()),
            Self::NotAllowed => DecidedBy::AllowPolicies,
            Self::PolicyChange(why) | Self::Untold(why) => why.decided_by(),
            Self::PeerIdentity { .. } => DecidedBy::Identity,
            Self::IpMismatch { .. } => DecidedBy::Destination,
            Self::InvalidAuthority(_) | Self::NotFromOutside(_) => DecidedBy::Protocol,
            Self::SelfCall(_) => DecidedBy::LoopProtection,
            Self::UnknownHost(_)
            | Self::ServicePort { .. }
            | Self::NoHealthyUpstream(_)
            | Self::OtherNetwork { .. }
            | Self::NoAddress(_)
            | Self::UnknownWaypoint(_)
            | Self::UnknownOccupant { .. }
            | Self::ApplicationTunnel => DecidedBy::Routing,
        }
    }
}
