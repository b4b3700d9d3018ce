//! Packets: a version and one message, as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest packet, bytes. Below what a Unix socket takes at once with the kernel's default
/// buffers (212,992 bytes).
pub const MAX_PACKET: usize = 160 << 10;

/// Why bytes are not a message, or a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not such a message: a fault of the other side, or a version that was not agreed on.
    #[error("the other side sent something that is no message of this conversation: {0}")]
    Malformed(#[source] serde_json::Error),
    /// Too large for a packet: this side's own fault.
    #[error("a message of {0} bytes is larger than a packet ({MAX_PACKET} bytes)")]
    TooLarge(usize),
    /// Cannot be written: this side's own fault.
    #[error("a message cannot be written: {0}")]
    Encode(#[source] serde_json::Error),
}

#[derive(Serialize)]
struct Sent<'a, T> {
    version: u16,
    message: &'a T,
}

#[derive(Deserialize)]
struct Received<T> {
    version: u16,
    message: T,
}

/// The packet of a message.
///
/// # Errors
/// It is too large.
pub fn encode<T: Serialize>(version: u16, message: &T) -> Result<Vec<u8>, WireError> {
    let bytes = serde_json::to_vec(&Sent { version, message }).map_err(WireError::Encode)?;
    if bytes.len() > MAX_PACKET {
        return Err(WireError::TooLarge(bytes.len()));
    }
    Ok(bytes)
}

/// The message of a packet, and the version it is written in.
///
/// # Errors
/// It is not such a message.
pub fn decode<T: DeserializeOwned>(packet: &[u8]) -> Result<(u16, T), WireError> {
    let Received { version, message } =
        serde_json::from_slice(packet).map_err(WireError::Malformed)?;
    Ok((version, message))
}
