//! HTTP/2 frames written by hand, so that they can be wrong.

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Kinds of frames.
pub mod kind {
    #![allow(missing_docs, reason = "the names of RFC 9113")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// `END_STREAM` of DATA and HEADERS, ACK of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// `END_HEADERS` of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;

/// A frame that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status of an answer's headers, of the forms that a server's first answers take.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let block = behind_updates(&self.payload)?;
        match *block.first()? {
            // The static table's statuses.
            indexed @ 0x88..=0x8e => {
                let known = [200, 204, 206, 304, 400, 404, 500];
                known.get(usize::from(indexed - 0x88)).copied()
            }
            // A literal under one of their names.
            byte if (0x48..=0x4e).contains(&byte) || (0x08..=0x0e).contains(&byte) => {
                digits(&block[1..])
            }
            _ => None,
        }
    }

    /// The error code of `RST_STREAM` and GOAWAY.
    #[must_use]
    pub fn error_code(&self) -> Option<u32> {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        let bytes = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }
}

/// A block without the updates of the table's size that it may begin with (RFC 7541 6.3).
fn behind_updates(mut block: &[u8]) -> Option<&[u8]> {
    while let [first, rest @ ..] = block {
        if first & 0xe0 != 0x20 {
            return Some(block);
        }
        block = rest;
        if first & 0x1f == 0x1f {
            // A long number ends with the byte whose first bit is not set (5.1).
            let last = rest.iter().position(|byte| byte & 0x80 == 0)?;
            block = &rest[last + 1..];
        }
    }
    None
}

/// A string of digits, plain or in HPACK's Huffman code.
fn digits(string: &[u8]) -> Option<u16> {
    let (&length, rest) = string.split_first()?;
    let text = rest.get(..usize::from(length & 0x7f))?;
    if length & 0x80 == 0 {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let bits: Vec<u8> = text
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let (mut at, mut number) = (0, 0);
    let take = |at: usize, count: usize| -> Option<u16> {
        let bits = bits.get(at..at + count)?;
        Some(bits.iter().fold(0, |all, bit| all << 1 | u16::from(*bit)))
    };
    for _ in 0..3 {
        // 0, 1 and 2 have five bits, the others six, from 25 on.
        let short = take(at, 5)?;
        if short < 3 {
            (at, number) = (at + 5, number * 10 + short);
        } else {
            (at, number) = (at + 6, number * 10 + take(at, 6)?.checked_sub(25)? + 3);
        }
    }
    Some(number)
}

/// Takes the whole frames from the front of what arrived.
pub fn take_frames(inbox: &mut Vec<u8>) -> Vec<Frame> {
    let (mut at, mut found) = (0, Vec::new());
    while let Some(head) = inbox.get(at..at + 9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some(payload) = inbox.get(at + 9..at + 9 + length) else {
            break;
        };
        found.push(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]),
            payload: payload.to_vec(),
        });
        at += 9 + length;
    }
    inbox.drain(..at);
    found
}

/// A frame as it goes out.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    // What is too long for its length field is a mistake of the test; the peer will say so.
    let length = u32::try_from(payload.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// SETTINGS with our windows wide open, so that only the peer's bounds count.
#[must_use]
pub fn settings() -> Vec<u8> {
    let mut payload = vec![0, 2, 0, 0, 0, 0];
    payload.extend([0, 4]);
    payload.extend(0x7fff_ffff_u32.to_be_bytes());
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// `WINDOW_UPDATE`.
#[must_use]
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// `RST_STREAM`.
#[must_use]
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// The header block of a CONNECT request: two literals that leave the table alone.
#[must_use]
pub fn connect_block(authority: &str) -> Vec<u8> {
    let mut block = literal(":method", "CONNECT");
    block.extend(literal(":authority", authority));
    block
}

/// A literal header without indexing.
#[must_use]
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.extend(integer(text.len(), 7));
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// HPACK's integers, with nothing in the bits before them.
#[must_use]
pub fn integer(value: usize, bits: u8) -> Vec<u8> {
    let most = (1_usize << bits) - 1;
    let low = |number: usize| number.to_le_bytes()[0];
    if value < most {
        return vec![low(value)];
    }
    let (mut bytes, mut left) = (vec![low(most)], value - most);
    while left >= 128 {
        bytes.push(low(left) | 0x80);
        left /= 128;
    }
    bytes.push(low(left));
    bytes
}

/// HEADERS of a CONNECT request that leaves the stream open.
#[must_use]
pub fn connect(stream: u32, authority: &str) -> Vec<u8> {
    frame(
        kind::HEADERS,
        END_HEADERS,
        stream,
        &connect_block(authority),
    )
}

#[cfg(test)]
mod tests {
    use super::{Frame, frame, integer, kind, take_frames};

    #[test]
    fn statuses_are_read_in_the_forms_servers_write() {
        let status = |payload: &[u8]| {
            Frame {
                kind: kind::HEADERS,
                flags: 4,
                stream: 1,
                payload: payload.to_vec(),
            }
            .status()
        };
        assert_eq!(status(&[0x88]), Some(200));
        assert_eq!(status(&[0x20, 0x8c]), Some(400));
        assert_eq!(status(b"\x48\x03503"), Some(503));
        // RFC 7541, C.6.1: 302 in Huffman's code.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
    }

    #[test]
    fn frames_are_taken_whole() {
        let mut bytes = frame(kind::DATA, 1, 3, b"abc");
        bytes.extend([0, 0, 9]);
        let found = take_frames(&mut bytes);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].stream, &found[0].payload[..]), (3, &b"abc"[..]));
        assert_eq!(bytes, [0, 0, 9]);
        // RFC 7541, C.1.2.
        assert_eq!(integer(1337, 5), [31, 154, 10]);
    }
}
