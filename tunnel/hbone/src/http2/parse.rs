//! Cuts what arrives into frames. Payload of DATA is passed on as it comes, wherever it lies; other
//! frames are small and passed on whole.

use std::borrow::Cow;
use std::ops::Range;

use super::fault::Fault;
use super::frame::{HEAD, Head, PREFACE, Reason, flag, kind};

/// Payload of any frame but DATA, bytes: a header block of ours takes a few hundred.
const WHOLE_MAX: usize = 64 * 1024;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A DATA frame begins; all of its payload counts for the windows (RFC 9113 6.9.1).
    Begins { stream: u32, length: usize },
    /// Some of its data, at this place of what arrived.
    Data { stream: u32, at: Range<usize> },
    /// So many bytes of it were padding.
    Padding { stream: u32, length: usize },
    /// It is over, and with it perhaps the stream.
    Ends { stream: u32, end_stream: bool },
    /// Any other frame.
    Whole(Head, Cow<'a, [u8]>),
}

#[derive(Debug)]
enum State {
    /// The client's first words; so many bytes of them have come.
    Preface(usize),
    Head {
        bytes: [u8; HEAD],
        seen: usize,
    },
    Data(Data),
    Whole {
        head: Head,
        bytes: Vec<u8>,
    },
}

#[derive(Debug)]
struct Data {
    stream: u32,
    left: usize,
    padding: Padding,
    end_stream: bool,
}

#[derive(Debug)]
enum Padding {
    /// Its length is the first byte.
    Unknown,
    /// To be told.
    Known(usize),
    /// Told, and so many bytes are still to come.
    Left(usize),
}

const NEXT: State = State::Head {
    bytes: [0; HEAD],
    seen: 0,
};

/// Where in the sequence of frames a connection is.
#[derive(Debug)]
pub(crate) struct Parser {
    state: State,
    /// Largest payload that was announced, bytes.
    frame_max: usize,
}

impl Parser {
    pub(crate) const fn new(frame_max: usize, of_client: bool) -> Self {
        let state = if of_client { State::Preface(0) } else { NEXT };
        Self { state, frame_max }
    }

    /// What comes next in `input[*at..end]`, and moves `at` behind it; nothing when more must arrive.
    pub(crate) fn next<'a>(
        &mut self,
        input: &'a [u8],
        at: &mut usize,
        end: usize,
    ) -> Result<Option<Found<'a>>, Fault> {
        loop {
            let rest = input.get(*at..end).unwrap_or_default();
            match &mut self.state {
                State::Preface(seen) => {
                    let n = preface(*seen, rest)?;
                    (*seen, *at) = (*seen + n, *at + n);
                    if *seen < PREFACE.len() {
                        return Ok(None);
                    }
                    self.state = NEXT;
                }
                State::Head { bytes, seen } => {
                    let n = rest.len().min(HEAD - *seen);
                    bytes[*seen..*seen + n].copy_from_slice(&rest[..n]);
                    (*seen, *at) = (*seen + n, *at + n);
                    if *seen < HEAD {
                        return Ok(None);
                    }
                    let head = Head::read(*bytes);
                    if let Some(found) = self.begin(head)? {
                        return Ok(Some(found));
                    }
                }
                State::Data(data) => {
                    let found = data.next(rest, at)?;
                    if matches!(found, Some(Found::Ends { .. })) {
                        self.state = NEXT;
                    }
                    return Ok(found);
                }
                State::Whole { head, bytes } => {
                    let head = *head;
                    let found = whole(head.length, bytes, rest, at);
                    if found.is_some() {
                        self.state = NEXT;
                    }
                    return Ok(found.map(|payload| Found::Whole(head, payload)));
                }
            }
        }
    }

    fn begin(&mut self, head: Head) -> Result<Option<Found<'static>>, Fault> {
        if head.length > self.frame_max {
            let why = "a frame is larger than the announced maximum";
            return Err(Fault::new(Reason::FRAME_SIZE_ERROR, why));
        }
        if head.kind != kind::DATA {
            if head.length > WHOLE_MAX {
                return Err(Fault::excessive("a frame without data is above 64 KiB"));
            }
            let bytes = Vec::new();
            self.state = State::Whole { head, bytes };
            return Ok(None);
        }
        self.state = State::Data(Data {
            stream: head.stream,
            left: head.length,
            padding: if head.has(flag::PADDED) {
                Padding::Unknown
            } else {
                Padding::Known(0)
            },
            end_stream: head.has(flag::END_STREAM),
        });
        Ok(Some(Found::Begins {
            stream: head.stream,
            length: head.length,
        }))
    }
}

/// How much of the preface has come, behind what had; an error if it is something else.
fn preface(seen: usize, rest: &[u8]) -> Result<usize, Fault> {
    let wanted = PREFACE.get(seen..).unwrap_or_default();
    let n = wanted.len().min(rest.len());
    if wanted[..n] == rest[..n] {
        Ok(n)
    } else {
        Err(Fault::protocol("this is not HTTP/2"))
    }
}

/// A payload of so many bytes, once all of it is there.
fn whole<'a>(
    length: usize,
    bytes: &mut Vec<u8>,
    rest: &'a [u8],
    at: &mut usize,
) -> Option<Cow<'a, [u8]>> {
    let wanted = length - bytes.len();
    let n = wanted.min(rest.len());
    *at += n;
    if bytes.is_empty() && n == wanted {
        return Some(Cow::Borrowed(&rest[..n]));
    }
    bytes.extend_from_slice(&rest[..n]);
    (n == wanted).then(|| Cow::Owned(std::mem::take(bytes)))
}

impl Data {
    fn next<'a>(&mut self, rest: &[u8], at: &mut usize) -> Result<Option<Found<'a>>, Fault> {
        let stream = self.stream;
        if matches!(self.padding, Padding::Unknown) {
            return self.padding(rest, at);
        }
        if self.left > 0 {
            let n = self.left.min(rest.len());
            if n == 0 {
                return Ok(None);
            }
            let place = *at..*at + n;
            (self.left, *at) = (self.left - n, *at + n);
            return Ok(Some(Found::Data { stream, at: place }));
        }
        match self.padding {
            Padding::Known(length) if length > 0 => {
                self.padding = Padding::Left(length);
                Ok(Some(Found::Padding { stream, length }))
            }
            Padding::Left(length) if length > rest.len() => {
                *at += rest.len();
                self.padding = Padding::Left(length - rest.len());
                Ok(None)
            }
            Padding::Left(length) => {
                *at += length;
                self.padding = Padding::Known(0);
                Ok(Some(self.over()))
            }
            _ => Ok(Some(self.over())),
        }
    }

    /// Its first byte tells how much of it is padding, and is padding, too.
    fn padding<'a>(&mut self, rest: &[u8], at: &mut usize) -> Result<Option<Found<'a>>, Fault> {
        if self.left == 0 {
            return Err(too_much_padding());
        }
        let Some(length) = rest.first() else {
            return Ok(None);
        };
        let length = usize::from(*length);
        *at += 1;
        let left = self.left.checked_sub(1 + length);
        self.left = left.ok_or_else(too_much_padding)?;
        self.padding = Padding::Known(length);
        let (stream, length) = (self.stream, 1);
        Ok(Some(Found::Padding { stream, length }))
    }

    const fn over<'a>(&self) -> Found<'a> {
        Found::Ends {
            stream: self.stream,
            end_stream: self.end_stream,
        }
    }
}

fn too_much_padding() -> Fault {
    Fault::protocol("a frame has more padding than payload")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let head = Head::new(payload.len(), kind, flags, stream);
        [&head.write()[..], payload].concat()
    }

    /// All that is found in pieces of so many bytes, data as bytes.
    fn told(bytes: &[u8], pieces: usize) -> Result<Vec<String>, Fault> {
        let mut parser = Parser::new(1 << 20, true);
        let (mut told, mut data) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(pieces) {
            let mut at = 0;
            while let Some(found) = parser.next(piece, &mut at, piece.len())? {
                match found {
                    Found::Data { at, .. } => data.extend_from_slice(&piece[at]),
                    Found::Whole(head, payload) => told.push(format!("{head:?} {payload:?}")),
                    found @ Found::Ends { .. } => {
                        told.push(format!("{:?} {found:?}", std::mem::take(&mut data)));
                    }
                    found => told.push(format!("{found:?}")),
                }
            }
        }
        Ok(told)
    }

    #[test]
    fn frames_are_found_however_they_are_cut() {
        let bytes = [
            PREFACE.to_vec(),
            frame(kind::SETTINGS, 0, 0, &[]),
            frame(kind::DATA, 0, 1, b"hello"),
            frame(kind::DATA, flag::PADDED, 3, b"\x02padded\0\0"),
            frame(kind::PING, 0, 0, b"eight by"),
            frame(kind::DATA, flag::END_STREAM, 1, b""),
            frame(kind::DATA, flag::PADDED, 1, b"\x00"),
        ]
        .concat();
        let whole = told(&bytes, bytes.len()).unwrap();
        assert_eq!(whole.len(), 13, "{whole:?}");
        for pieces in 1..30 {
            assert_eq!(told(&bytes, pieces).unwrap(), whole);
        }
    }

    #[test]
    fn what_cannot_be_a_frame_is_refused() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(kind::DATA, flag::PADDED, 1, b"\x05five!"));
        assert!(told(&bytes, 7).is_ok());
        for bad in [
            frame(kind::DATA, flag::PADDED, 1, b"\x06five!"),
            frame(kind::DATA, flag::PADDED, 1, b""),
            frame(kind::DATA, 0, 1, &vec![0; (1 << 20) + 1]),
            frame(kind::HEADERS, 0, 1, &vec![0; WHOLE_MAX + 1]),
        ] {
            let bytes = [&PREFACE[..], &bad].concat();
            told(&bytes, bytes.len()).unwrap_err();
        }
        told(b"PRI * HTTP/1.1\r\n", 3).unwrap_err();
    }
}
