//! What the CNI plugin and the node agent say to each other over the agent's Unix socket: typed
//! messages, the frame that carries them, and which side to upgrade when they do not understand
//! each other.
//! It refuses to touch sockets, descriptors and clocks, to accept a frame above its bound, and to
//! guess at bytes that are not a frame: both ends feed it bytes and get messages or a reason.
//! It owns the shape of every message on that socket and the numbers of the protocol's versions.

#![forbid(unsafe_code)]

mod frame;
mod message;
mod version;

pub use frame::{Decoder, EncodeError, Frame, FrameError, HEADER_LENGTH, MAGIC, MAX_BODY, encode};
pub use message::{
    AddRequest, Attachment, CertificateState, CheckRequest, DelRequest, Failure, GcRequest, PodRef,
    Reply, Report, Request,
};
pub use version::{
    MessageError, SPOKEN, Side, Spoken, Upgrade, read_reply, read_report, read_request,
};
