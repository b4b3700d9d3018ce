//! The frame: magic, version, reserved bits, length, JSON body.

use serde::Serialize;

/// The first bytes of every frame.
pub const MAGIC: [u8; 4] = *b"AMBT";

/// Bytes before the body: magic, version (u16), reserved (u16, 0), length (u32), big endian.
pub const HEADER_LENGTH: usize = 12;

/// The longest body either side accepts or sends.
pub const MAX_BODY: usize = 64 * 1024;

/// One frame, whole, its body not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The protocol version its sender wrote it in.
    pub version: u16,
    /// The JSON body.
    pub body: Vec<u8>,
}

/// Why bytes are not a frame. All are the sender's fault and final for the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It does not begin like a frame: something else listens on, or talks to, the socket.
    #[error("this is not the plugin protocol: the peer's bytes begin with \"{}\"", .0.escape_ascii())]
    NotAFrame(Vec<u8>),
    /// The reserved bits are set, which no version so far does.
    #[error("the frame's reserved bits are {0:#06x}, not zero")]
    Reserved(u16),
    /// The body is announced longer than the bound.
    #[error("the frame announces a body of {0} bytes; at most {MAX_BODY} are accepted")]
    TooLong(u32),
    /// More than a frame's worth of bytes was pushed without taking frames out.
    #[error("the peer sent more than was asked of it")]
    Overrun,
    /// The connection ended inside a frame: the sender died or gave up half-way.
    #[error("the connection ended inside a frame, {missing} bytes before its end")]
    Truncated {
        /// How many bytes are missing, as far as is known.
        missing: usize,
    },
}

/// Why a message cannot be sent. Repeating does not help.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// It is longer than the peer accepts.
    #[error("the message is {0} bytes long; a frame carries at most {MAX_BODY}")]
    TooLong(usize),
    /// It cannot be written as JSON.
    #[error("the message cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// Writes one message as a frame of the given version.
///
/// # Errors
/// The message is too long.
pub fn encode<M: Serialize>(version: u16, message: &M) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&[0; 6]);
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - HEADER_LENGTH;
    match u32::try_from(length) {
        Ok(announced) if length <= MAX_BODY => {
            bytes[8..HEADER_LENGTH].copy_from_slice(&announced.to_be_bytes());
            Ok(bytes)
        }
        _ => Err(EncodeError::TooLong(length)),
    }
}

/// Turns bytes, in pieces of any size, into frames. After an error it stays failed.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    failed: Option<FrameError>,
}

impl Decoder {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes are worth reading next; never 0 unless a frame waits in
    /// [`next_frame`](Self::next_frame). A reader that asks for no more never holds bytes of a
    /// following frame, whose descriptors it would otherwise mistake for this one's.
    #[must_use]
    pub fn wanted(&self) -> usize {
        let announced = self.announced().map_or(0, |length| length as usize);
        (HEADER_LENGTH + announced).saturating_sub(self.buffer.len())
    }

    /// Takes what was read.
    ///
    /// # Errors
    /// The bytes cannot be, or become, a frame.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        self.still_good()?;
        if self.buffer.len() + bytes.len() > HEADER_LENGTH + MAX_BODY {
            return Err(self.fail(FrameError::Overrun));
        }
        self.buffer.extend_from_slice(bytes);
        self.inspect()
    }

    /// The next whole frame, if there is one.
    ///
    /// # Errors
    /// What follows the last frame cannot become one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        self.still_good()?;
        let Some(length) = self.announced() else {
            return Ok(None);
        };
        let end = HEADER_LENGTH + length as usize;
        if self.buffer.len() < end {
            return Ok(None);
        }
        let version = u16::from_be_bytes([self.buffer[4], self.buffer[5]]);
        let rest = self.buffer.split_off(end);
        let mut body = std::mem::replace(&mut self.buffer, rest);
        body.drain(..HEADER_LENGTH);
        // A bad beginning of the following frame must not swallow this one: it is told next time.
        drop(self.inspect());
        Ok(Some(Frame { version, body }))
    }

    /// The peer sent its last byte.
    ///
    /// # Errors
    /// It did so inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        self.still_good()?;
        if self.buffer.is_empty() {
            return Ok(());
        }
        Err(FrameError::Truncated {
            missing: self.wanted(),
        })
    }

    fn announced(&self) -> Option<u32> {
        let bytes = self.buffer.get(8..HEADER_LENGTH)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// Judges the header as far as it is there, so that rubbish is refused at its first byte.
    fn inspect(&mut self) -> Result<(), FrameError> {
        let seen = self.buffer.len().min(MAGIC.len());
        if self.buffer[..seen] != MAGIC[..seen] {
            let shown = self.buffer.iter().copied().take(16).collect();
            return Err(self.fail(FrameError::NotAFrame(shown)));
        }
        if let Some(&[high, low]) = self.buffer.get(6..8)
            && (high, low) != (0, 0)
        {
            return Err(self.fail(FrameError::Reserved(u16::from_be_bytes([high, low]))));
        }
        match self.announced() {
            Some(length) if length as usize > MAX_BODY => {
                Err(self.fail(FrameError::TooLong(length)))
            }
            _ => Ok(()),
        }
    }

    fn still_good(&self) -> Result<(), FrameError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.buffer = Vec::new();
        self.failed = Some(error.clone());
        error
    }
}

#[cfg(test)]
mod tests;
