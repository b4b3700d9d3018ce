//! Sockets born in a pod's network namespace.
//!
//! The [`Keeper`] enters pods' namespaces on a thread of its own, creates listeners and marked
//! sockets there, and hands out descriptors. It refuses to look at a single byte that passes
//! through those sockets: it parses nothing, holds no key and takes no decision. It owns the
//! namespace descriptor and the original listeners of every enrolled pod, so that the part which
//! moves bytes can be replaced without closing one.
//!
//! Everything outside this crate reaches namespaces through [`Sockets`], a request channel. Today
//! its far side is a thread of this process; the messages carry only plain values and descriptors,
//! so the far side can become a process of its own.

mod keeper;
mod options;
mod original;
mod request;

pub use keeper::Keeper;
pub use options::{PACKET_MARK, SocketKind};
pub use original::original_destination;
pub use request::{Family, ListenerSet, Port, Sockets, SocketsError};

#[cfg(test)]
mod tests;
