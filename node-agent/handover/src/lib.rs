//! What holder, worker and successor say to each other: the messages, their versions, and when a
//! worker that died is started again.
//!
//! It refuses to touch a socket, a descriptor or a clock: messages are bytes, descriptors are only
//! counted, time is an argument. It owns the vocabulary and the versions of these conversations.
//!
//! One message is one JSON document (`SOCK_SEQPACKET` keeps them apart), with the version it is
//! written in. Descriptors ride with it; each message says in its comment which.
//!
//! | version | what it added |
//! |---|---|
//! | 1 | pods' namespaces and listeners, the plugin's listener, sockets, work in namespaces |
//! | 2 | the sites' listeners pass from holder to holder, so that a successor needs no free port |
//! | 3 | pods that run are looked for; the worker does not ask a holder of version 2 for it |

#![forbid(unsafe_code)]

mod message;
mod restarts;
mod version;
mod wire;

pub use message::{
    Answer, Ask, FromPredecessor, FromSuccessor, FromWorker, InPod, Job, JobDone, Kept, Kind,
    Located, Site, Sought, ToWorker,
};
pub use restarts::{Restart, Restarts};
pub use version::{Mismatch, SPOKEN, Spoken};
pub use wire::{MAX_MESSAGE, WireError, decode, encode};

#[cfg(test)]
mod tests;
