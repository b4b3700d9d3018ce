//! Does to a pod's network namespace what a [`RedirectPlan`](node_agent_redirect::RedirectPlan)
//! says: installs, checks and removes its packet rules, route and routing rule, tells which
//! addresses it carries, and passes namespaces between processes as descriptors.
//!
//! It refuses to touch the host's own namespace, to leave a thread in a pod's namespace, to leave
//! half of a plan behind, and to wait past the deadline it was given.
//!
//! It owns every system call that enters a namespace, every `iptables` process and every netlink
//! message about a pod.
//!
//! The rules go in through `iptables-restore`, whole tables at once; the `iptables` crate starts one
//! process per rule, which is neither atomic nor fast.

mod apply;
mod backend;
mod check;
mod enter;
mod look;
mod netlink;
mod netns;
mod pass;
mod routing;
mod run;
mod tool;
mod undo;

pub use apply::{ApplyError, ApplyReport, apply};
pub use backend::{BackendError, detect_backend};
pub use check::{CheckError, check};
pub use enter::{EnterError, enter};
pub use netns::{Netns, NetnsError, NetnsId};
pub use pass::{
    MAX_DESCRIPTORS, PeerCredentials, keep_open_in_children, peer_credentials, recv_with_fds,
    send_with_fds,
};
pub use routing::{AddressError, addresses};
pub use run::RunError;
pub use undo::{UndoError, undo};
