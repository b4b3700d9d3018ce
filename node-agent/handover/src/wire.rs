//! How a message is written: with its version, as JSON.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The largest message, bytes: a plan that spares thousands of connections is the largest there is.
pub const MAX_MESSAGE: usize = 4 << 20;

/// Why bytes are not a message, or a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Not such a message: a fault of the other side, or a version that was not agreed on.
    #[error("the other side sent something that is no message of this conversation: {0}")]
    Malformed(#[source] serde_json::Error),
    /// Too large: this side's own fault.
    #[error("a message of {0} bytes is too large ({MAX_MESSAGE} bytes)")]
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

/// The bytes of a message.
///
/// # Errors
/// It is too large.
pub fn encode<T: Serialize>(version: u16, message: &T) -> Result<Vec<u8>, WireError> {
    let bytes = serde_json::to_vec(&Sent { version, message }).map_err(WireError::Encode)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(WireError::TooLarge(bytes.len()));
    }
    Ok(bytes)
}

/// The message in the bytes, and the version it is written in.
///
/// # Errors
/// It is not such a message.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(u16, T), WireError> {
    let Received { version, message } =
        serde_json::from_slice(bytes).map_err(WireError::Malformed)?;
    Ok((version, message))
}
