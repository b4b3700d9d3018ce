//! What a peer may say after the handshake (RFC 8446 4.6): that it changes its key, and tickets.

use rustls::AlertDescription;

use super::fault::Fault;

const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Longest ticket message: two fields of two bytes of length, and what is of fixed size.
const TICKET: usize = 2 * (2 + 0xffff) + 4 + 4 + 256;
/// Longest one that is kept. A ticket holds the client's chain of certificates.
const KEPT: usize = 8 * 1024;

/// Our own word for a change of key, which asks for none in return.
pub(super) const OWN_UPDATE: &[u8] = &[KEY_UPDATE, 0, 0, 1, 0];

/// What a piece of the conversation came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing that matters, or not all of it yet.
    Nothing,
    /// What follows is sealed with the peer's next key.
    Update { asked: bool },
}

/// What is to be done with tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tickets {
    /// They come from servers only, so that a server is sent none.
    Unexpected,
    /// One is kept for the next connection. The others would only cost.
    Wanted,
    /// None is kept.
    Skipped,
}

/// Messages put together from records.
pub(super) struct Talk {
    tickets: Tickets,
    /// The beginning of a message: as much as the longest that is no ticket.
    head: [u8; 5],
    have: usize,
    /// Bytes of a ticket still to come.
    coming: usize,
    /// What has come of it, unless it is too long to be kept.
    ticket: Option<Vec<u8>>,
}

impl Talk {
    pub(super) const fn new(tickets: Tickets) -> Self {
        Self {
            tickets,
            head: [0; 5],
            have: 0,
            coming: 0,
            ticket: None,
        }
    }

    /// Whether a message has begun: nothing else may come before its end.
    pub(super) const fn is_partial(&self) -> bool {
        self.have > 0 || self.coming > 0
    }

    /// Hears a record's content; `keep` gets the ticket that is wanted, without its header.
    pub(super) fn hear(
        &mut self,
        content: &[u8],
        keep: &mut dyn FnMut(&[u8]),
    ) -> Result<Said, Fault> {
        let mut content = content.iter();
        while !content.as_slice().is_empty() {
            if self.coming > 0 {
                let (part, rest) = content.as_slice().split_at(self.coming.min(content.len()));
                content = rest.iter();
                self.come(part, keep);
            } else if let (Some(byte), Some(place)) = (content.next(), self.head.get_mut(self.have))
            {
                *place = *byte;
                self.have += 1;
                if let Some(update) = self.begun()? {
                    self.have = 0;
                    return if content.as_slice().is_empty() {
                        Ok(update)
                    } else {
                        Err(Fault::unexpected(
                            "a key update is not the end of its record",
                        ))
                    };
                }
            }
        }
        Ok(Said::Nothing)
    }

    /// More of a ticket has come.
    fn come(&mut self, part: &[u8], keep: &mut dyn FnMut(&[u8])) {
        self.coming -= part.len();
        if let Some(ticket) = &mut self.ticket {
            ticket.extend_from_slice(part);
        }
        if self.coming == 0
            && let Some(ticket) = self.ticket.take()
        {
            self.tickets = Tickets::Skipped;
            keep(&ticket);
        }
    }

    /// Looks at as much of a message as there is.
    fn begun(&mut self) -> Result<Option<Said>, Fault> {
        let [kind, high, middle, low, asked] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let tickets = self.tickets != Tickets::Unexpected;
        match (kind, self.have) {
            (KEY_UPDATE, ..4) => Ok(None),
            (NEW_SESSION_TICKET, ..4) if tickets => Ok(None),
            (KEY_UPDATE, 4) if length == 1 => Ok(None),
            (KEY_UPDATE, 5) if asked <= 1 => Ok(Some(Said::Update { asked: asked == 1 })),
            (KEY_UPDATE, 5) => Err(Fault::new(
                AlertDescription::IllegalParameter,
                "a key update asks for neither yes nor no",
            )),
            (NEW_SESSION_TICKET, 4) if tickets && length <= TICKET => {
                self.coming = length;
                let keep = self.tickets == Tickets::Wanted && length <= KEPT;
                self.ticket = keep.then(|| Vec::with_capacity(length));
                self.have = 0;
                Ok(None)
            }
            (KEY_UPDATE | NEW_SESSION_TICKET, 4) => Err(Fault::new(
                AlertDescription::DecodeError,
                "a handshake message of a wrong length",
            )),
            _ => Err(Fault::unexpected("a handshake message after the handshake")),
        }
    }
}
