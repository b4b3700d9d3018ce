//! Decides, per connection, where it goes, whom to expect there, and whether it may: from a
//! snapshot of the mesh and the facts of the connection, and nothing else.
//! It refuses to touch a socket, a clock or randomness (a random number is one of the facts), and
//! to let anything through that it does not understand: an answer it cannot give is a refusal.
//! It owns routing, load balancing, the meaning of policies, and the words of every refusal.

#![forbid(unsafe_code)]

mod authority;
mod balance;
mod inbound;
mod occupant;
mod outbound;
mod plaintext;
pub mod policy;
mod refusal;
mod standing;
mod upstream;
mod waypoint;

pub use authority::{Authority, Host};
pub use inbound::{InboundFacts, InboundVerdict, inbound_hbone};
pub use occupant::{Occupant, PodRange};
pub use outbound::{HboneRoute, OutboundFacts, OutboundVerdict, PassthroughRoute, outbound};
pub use plaintext::{PlaintextFacts, inbound_plaintext};
pub use policy::{AllowedBy, DryRun, PolicyFacts, PolicyVerdict};
pub use refusal::{DecidedBy, Refusal, RefusalReason};
pub use standing::{InForce, Missing};

/// The port on which tunnels are taken.
pub const HBONE_PORT: u16 = 15008;

/// The tunnel's own ports in a pod: a connection to them would come back to the tunnel.
pub const OWN_PORTS: [u16; 3] = [15001, 15006, HBONE_PORT];

fn is_own_port(port: u16) -> bool {
    OWN_PORTS.contains(&port)
}

#[cfg(test)]
mod tests;
