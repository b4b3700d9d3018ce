//! Frames as they are on the wire (RFC 9113 4 and 6).

/// Length of a frame's header, bytes (RFC 9113 4.1).
pub(crate) const HEAD: usize = 9;

/// What every client says first (RFC 9113 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Largest window there can be, bytes (RFC 9113 6.9.1).
pub(crate) const WINDOW_MAX: i64 = (1 << 31) - 1;

/// Types of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of payload.
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Head {
    pub(crate) const fn new(length: usize, kind: u8, flags: u8, stream: u32) -> Self {
        Self {
            length,
            kind,
            flags,
            stream,
        }
    }

    pub(crate) fn read(bytes: [u8; HEAD]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        Self {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            // The first bit means nothing (RFC 9113 4.1).
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
        }
    }

    /// The length must be below 2^24: all ours are.
    pub(crate) fn write(&self) -> [u8; HEAD] {
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let mut bytes = [0; HEAD];
        bytes[..3].copy_from_slice(&length.to_be_bytes()[1..]);
        bytes[3..5].copy_from_slice(&[self.kind, self.flags]);
        bytes[5..].copy_from_slice(&self.stream.to_be_bytes());
        bytes
    }

    pub(crate) const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Why a stream or a connection ended (RFC 9113 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u32);

impl Reason {
    /// It ended as it should.
    pub const NO_ERROR: Self = Self(0);
    /// The peer breaks the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// Somebody failed inside.
    pub const INTERNAL_ERROR: Self = Self(2);
    /// More was sent than the window allows.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// A frame on a stream that has ended.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame of a wrong size.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// The stream was not processed: it may be sent elsewhere (RFC 9113 8.7).
    pub const REFUSED_STREAM: Self = Self(7);
    /// The stream is no longer needed.
    pub const CANCEL: Self = Self(8);
    /// A header block that cannot be read.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The TCP connection behind the stream failed (RFC 9113 8.5).
    pub const CONNECT_ERROR: Self = Self(10);
    /// The peer costs more than it should.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);

    /// Whether it says that nothing went wrong: peers end streams by these, too.
    pub(crate) const fn is_quiet(self) -> bool {
        matches!(self, Self::NO_ERROR | Self::CANCEL)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = match *self {
            Self::NO_ERROR => "not a result of an error (NO_ERROR)",
            Self::PROTOCOL_ERROR => "unspecific protocol error (PROTOCOL_ERROR)",
            Self::INTERNAL_ERROR => "unexpected internal error (INTERNAL_ERROR)",
            Self::FLOW_CONTROL_ERROR => "flow-control limits violated (FLOW_CONTROL_ERROR)",
            Self::STREAM_CLOSED => "frame on a stream that has ended (STREAM_CLOSED)",
            Self::FRAME_SIZE_ERROR => "frame with a wrong size (FRAME_SIZE_ERROR)",
            Self::REFUSED_STREAM => "refused before it was processed (REFUSED_STREAM)",
            Self::CANCEL => "no longer needed (CANCEL)",
            Self::COMPRESSION_ERROR => "header block cannot be read (COMPRESSION_ERROR)",
            Self::CONNECT_ERROR => "the TCP connection behind it failed (CONNECT_ERROR)",
            Self::ENHANCE_YOUR_CALM => "excessive load (ENHANCE_YOUR_CALM)",
            Self(code) => return write!(f, "error code {code}"),
        };
        f.write_str(words)
    }
}

/// A whole frame with few bytes of payload.
pub(crate) fn whole<const N: usize, const ALL: usize>(
    kind: u8,
    flags: u8,
    stream: u32,
    payload: [u8; N],
) -> [u8; ALL] {
    debug_assert_eq!(ALL, HEAD + N);
    let mut all = [0; ALL];
    let (head, rest) = all.split_at_mut(HEAD);
    head.copy_from_slice(&Head::new(N, kind, flags, stream).write());
    rest.copy_from_slice(&payload);
    all
}

pub(crate) fn window_update(stream: u32, bytes: u32) -> [u8; 13] {
    whole(kind::WINDOW_UPDATE, 0, stream, bytes.to_be_bytes())
}

pub(crate) fn reset(stream: u32, reason: Reason) -> [u8; 13] {
    whole(kind::RST_STREAM, 0, stream, reason.0.to_be_bytes())
}

pub(crate) fn ping(flags: u8, payload: [u8; 8]) -> [u8; 17] {
    whole(kind::PING, flags, 0, payload)
}

pub(crate) fn goaway(last: u32, reason: Reason) -> [u8; 17] {
    let both = (u64::from(last) << 32) | u64::from(reason.0);
    whole(kind::GOAWAY, 0, 0, both.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        let head = Head::new((1 << 24) - 1, kind::DATA, flag::END_STREAM, (1 << 31) - 1);
        let mut bytes = head.write();
        assert_eq!(bytes, [255, 255, 255, 0, 1, 127, 255, 255, 255]);
        bytes[5] = 255;
        assert_eq!(Head::read(bytes), head);
        assert_eq!(
            window_update(3, 0x0102_0304),
            [0, 0, 4, 8, 0, 0, 0, 0, 3, 1, 2, 3, 4]
        );
    }
}
