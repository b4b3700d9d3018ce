//! HTTP/2 as far as CONNECT needs it (RFC 9113): streams of one connection, on one thread.
//!
//! Why not the library that the rest of the tree uses: it hands each message from task to task, through an allocation
//! and two copies, and keeps what a stream sends in a queue of its own. Here a turn of the event loop reads what a
//! tunnel has, and gives it to the applications at once; what applications have is read to where it is encrypted. What
//! waits is bounded for the tunnel, not for each stream of it.
//!
//! ```text
//! socket ─► TLS, opened in place ─► parse ─► receive ─► Stream ─► Sink: the application's socket
//! application's socket ─► send ─► Gather, sealed in place ─► socket
//! ```
//!
//! Not there because no tunnel needs it: push, priorities, trailers with a meaning, bodies of known length.

mod blocks;
mod control;
mod core;
mod farewell;
mod fault;
mod fields;
mod frame;
mod handle;
mod parse;
mod receive;
mod send;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod windows;

pub use fault::Broken;
pub use fields::Asked;
pub use frame::Reason;

pub(crate) use core::{Core, Role, Shared};
pub(crate) use fault::Fault;
pub(crate) use handle::{Handle, News};
pub(crate) use send::Sent;
pub(crate) use stream::{Sink, Stuck};
