//! Records opened where they were received, and the rules that they have to keep.

use std::ops::Range;

use rustls::AlertDescription;

use super::fault::Fault;
use super::incoming::Incoming;
use super::key::{Key, Secrets};
use super::talk::{Said, Talk, Tickets};
use super::{ALERT, DATA, HANDSHAKE, HEADER, RECORD};

/// Most that sealing may add to a record's plaintext (RFC 8446 5.2).
const EXPANSION: usize = 256;
/// Records without data that a peer may send in a row: they cost us work and carry nothing.
const QUIET: u32 = 32;

/// A record that has been opened.
pub(super) enum Record {
    /// Data, at this place of the buffer.
    Data(Range<usize>),
    /// The peer will send no more.
    Close,
    /// Something that is dealt with.
    Other,
}

/// The receiving half of a connection.
pub(super) struct Opener {
    pub(super) key: Key,
    talk: Talk,
    /// Records without data since the last one with some.
    quiet: u32,
    /// Whether the peer wants our key changed too.
    pub(super) asked: bool,
}

impl Opener {
    pub(super) const fn new(key: Key, tickets: Tickets) -> Self {
        Self {
            key,
            talk: Talk::new(tickets),
            quiet: 0,
            asked: false,
        }
    }

    /// Opens the next record, if all of it is there.
    pub(super) fn next(
        &mut self,
        incoming: &mut Incoming,
        secrets: &mut dyn Secrets,
    ) -> Result<Option<Record>, Fault> {
        let Some(header) = incoming.header(0) else {
            return Ok(None);
        };
        let size = sealed_size(header)?;
        let (start, record) = incoming.front(size);
        if record.len() < size {
            return Ok(None);
        }
        let inner = self.key.open(record).ok_or_else(Fault::undecipherable)?;
        let (kind, content) = unpad(inner)?;
        let heard = self.hear(kind, content, start + HEADER, secrets)?;
        incoming.consume(size);
        Ok(Some(heard))
    }

    fn hear(
        &mut self,
        kind: u8,
        content: &[u8],
        start: usize,
        secrets: &mut dyn Secrets,
    ) -> Result<Record, Fault> {
        if self.talk.is_partial() && kind != HANDSHAKE {
            return Err(Fault::unexpected("a handshake message is interrupted"));
        }
        if kind == DATA && !content.is_empty() {
            self.quiet = 0;
            return Ok(Record::Data(start..start + content.len()));
        }
        self.quiet += 1;
        if self.quiet > QUIET {
            return Err(Fault::unexpected("too many records without data"));
        }
        match kind {
            DATA => Ok(Record::Other),
            ALERT => alert(content),
            HANDSHAKE if !content.is_empty() => self.talk(content, secrets),
            _ => Err(Fault::unexpected(
                "a record of a type that has no place here",
            )),
        }
    }

    fn talk(&mut self, content: &[u8], secrets: &mut dyn Secrets) -> Result<Record, Fault> {
        let keep = &mut |ticket: &[u8]| secrets.keep(ticket);
        if let Said::Update { asked } = self.talk.hear(content, keep)? {
            self.key = secrets.next_rx().map_err(Fault::own)?;
            self.asked |= asked;
        }
        Ok(Record::Other)
    }
}

/// Size of a record with its header. Only sealed ones may come after the handshake.
fn sealed_size([kind, _, _, high, low]: [u8; HEADER]) -> Result<usize, Fault> {
    let length = usize::from(u16::from_be_bytes([high, low]));
    if kind != DATA {
        return Err(Fault::unexpected(match kind {
            20 => "a change of cipher after the handshake",
            ALERT => "an alert that is not sealed",
            _ => "a record that is not sealed",
        }));
    }
    if length > RECORD + EXPANSION {
        return Err(Fault::oversized());
    }
    Ok(HEADER + length)
}

/// The content type is the last byte that is not padding.
fn unpad(inner: &[u8]) -> Result<(u8, &[u8]), Fault> {
    let zeros = inner.iter().rev().take_while(|byte| **byte == 0).count();
    let (inner, _) = inner.split_at(inner.len() - zeros);
    let Some((kind, content)) = inner.split_last() else {
        return Err(Fault::unexpected("a record without a content type"));
    };
    if content.len() > RECORD {
        return Err(Fault::oversized());
    }
    Ok((*kind, content))
}

fn alert(content: &[u8]) -> Result<Record, Fault> {
    // The level says nothing any more (RFC 8446 6).
    let &[_, description] = content else {
        return Err(Fault::new(
            AlertDescription::DecodeError,
            "an alert of a wrong length",
        ));
    };
    match AlertDescription::from(description) {
        AlertDescription::CloseNotify => Ok(Record::Close),
        AlertDescription::UserCanceled => Ok(Record::Other),
        other => Err(Fault::told(other)),
    }
}
