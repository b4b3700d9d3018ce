//! Does in a pod's network namespace what has to be done from inside it: enters it on a thread
//! that ends there, installs, checks and removes the packet rules and routes of a plan, lists its
//! addresses; and passes namespace descriptors between processes.
//!
//! It refuses to touch a namespace that is the caller's own or the host's, but for one chain there
//! that exempts the node's probes of pods; to work past its deadline; and to leave a namespace half
//! programmed: what it cannot complete in a fresh namespace it removes again. Connections that a
//! running pod has open are not touched.
//!
//! It owns the privilege to enter namespaces and to start `iptables`; together with the
//! worker's confinement and the tunnel's sockets it is the only place for `unsafe`.
//!
//! The `iptables` crate is not used: it starts a process per rule, so a set of rules is neither
//! atomic nor fast; here each family is one `iptables-restore`.

mod addresses;
mod apply;
mod attributes;
mod capture;
mod cgroup;
mod connections;
mod descriptors;
mod detect;
mod enter;
mod locate;
mod netlink;
mod netns;
mod node;
mod process;
mod residue;
mod routes;
mod tools;
mod tracked;
mod undo;

pub use addresses::{AddressesError, addresses};
pub use apply::{ApplyError, ApplyReport, FamilyReport, Outcome, apply};
pub use capture::{CaptureError, capture_running, spare_fewer};
pub use connections::{ConnectionsError, connections};
pub use descriptors::{
    MAX_DESCRIPTORS, PeerCredentials, keep_open_in_children, peer_credentials, recv_with_fds,
    recv_with_fds_there_are, send_with_fds,
};
pub use detect::{DetectError, detect_backend};
pub use enter::{EnterError, enter};
pub use locate::{Found, NotFound, Sought, Whereabouts, locate};
pub use netns::{Netns, NetnsError, NetnsId};
pub use node::{Exempted, NodeError, Wanted, exempt};
pub use process::ToolError;
pub use undo::{CheckError, UndoError, check, undo};
