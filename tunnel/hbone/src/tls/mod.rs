//! The record layer of TLS 1.3 (RFC 8446 5): records are sealed where they were gathered and opened
//! where they were received.
//!
//! The handshake and the keys are rustls' business; [`connect`] and [`accept`] take over when it is
//! complete. What goes out lies in one [`Gather`] from the first byte put to the last byte sent,
//! what comes in is handed out as pieces of the buffer that the socket filled. An idle connection
//! holds neither.

mod fault;
mod gather;
mod handshake;
mod incoming;
mod io;
mod key;
mod opener;
mod pool;
mod talk;

pub(crate) use gather::{Gather, ROOM};
pub use handshake::{Shown, accept, connect};
pub(crate) use io::Opened;
pub use io::TlsIo;

/// Most plaintext of one record, bytes (RFC 8446 5.1).
const RECORD: usize = 16 * 1024;
/// Type, version and length before every record.
const HEADER: usize = 5;
/// The authentication tag of every cipher there is.
const TAG: usize = 16;
/// What a record takes beyond its plaintext: the header, the content type and the tag.
const OVERHEAD: usize = HEADER + 1 + TAG;
/// The room of a full record.
const FULL: usize = RECORD + OVERHEAD;

/// Content types (RFC 8446 5.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

#[cfg(test)]
mod tests;
