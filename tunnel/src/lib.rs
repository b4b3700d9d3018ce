//! The data plane: listeners in pods, decisions obeyed, bytes moved.
//!
//! A [`Tunnel`] runs its connections on threads of their own; a connection, its stream and its
//! tunnel never leave the thread that accepted them. It refuses to know Kubernetes, CNI or the
//! agent: pods are admitted and released through a [`TunnelHandle`], and what the mesh looks like
//! is read from a snapshot. It owns the live connections, the tunnels to peers and the sockets in
//! hand; namespaces and the original listeners belong to the holder, which `tunnel-sockets` reaches.
//!
//! ```text
//! 15001 ─ outbound ─► decide ─► pool ─► tunnel ─ stream ─► peer:15008
//! 15008 ─ tunnel ─► stream ─► decide ─► application, from the client's address
//! 15006 ─ plaintext ─► decide ─► application, from the client's address
//! ```

#![forbid(unsafe_code)]

mod accept;
mod application;
mod baggage;
mod connect;
mod context;
mod crew;
mod drain;
mod farewell;
mod flow;
mod handle;
mod inbound;
mod knock;
mod lane;
mod live;
mod occupants;
mod outbound;
mod plaintext;
mod pod;
mod pool;
mod probe;
mod resend;
mod settings;
mod shard;
mod standing;
mod stock;
mod stream;
mod tunnels;

pub use handle::{AdmitError, AdmitPod, DrainReport, PodStatus, Tunnel, TunnelHandle};
pub use knock::ProbeError;
pub use occupants::{Occupants, Question};
pub use settings::{Parts, TunnelSettings, Untold};
pub use tunnel_decide::{Occupant, PodRange};
pub use tunnel_hbone::Limits;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
