//! Sockets born in a pod's network namespace.
//!
//! [`Namespaces`] enters pods' namespaces, creates listeners and marked sockets there, and hands
//! out descriptors. It refuses to look at a single byte that passes through those sockets: it
//! parses nothing, holds no key and takes no decision. It owns the namespace descriptor and the
//! original listeners of every enrolled pod, so that the part which moves bytes can be replaced
//! without closing one.
//!
//! The part which moves bytes reaches namespaces through [`Sockets`], a request channel whose far
//! side is another process: the requests carry only plain values and descriptors.

mod connect;
mod namespaces;
mod options;
mod original;
mod passing;
mod request;

pub use connect::{Begun, bind, connect};
pub use namespaces::{KeptPod, Namespaces};
pub use options::{PACKET_MARK, SocketKind};
pub use original::original_destination;
pub use request::{Family, ListenerSet, Port, Request, Sockets, SocketsError};

#[cfg(test)]
mod tests;
