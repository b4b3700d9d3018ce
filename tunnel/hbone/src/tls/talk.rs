//! What a peer may say after the handshake (RFC 8446 4.6): that it changes its key, and tickets.

use rustls::AlertDescription;

use super::fault::Fault;

const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// Longest ticket message: two fields of two bytes of length, and what is of fixed size.
const TICKET: usize = 2 * (2 + 0xffff) + 4 + 4 + 256;

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

/// Messages put together from records; none of them is kept.
#[derive(Default)]
pub(super) struct Talk {
    /// The beginning of a message: as much as the longest that is not skipped.
    head: [u8; 5],
    have: usize,
    /// Bytes of a ticket still to come.
    skip: usize,
}

impl Talk {
    /// Whether a message has begun: nothing else may come before its end.
    pub(super) const fn is_partial(&self) -> bool {
        self.have > 0 || self.skip > 0
    }

    /// Hears a record's content. Tickets come from servers only, so a server expects none.
    pub(super) fn hear(&mut self, content: &[u8], tickets: bool) -> Result<Said, Fault> {
        let mut content = content.iter();
        while !content.as_slice().is_empty() {
            if self.skip > 0 {
                let skip = self.skip.min(content.len());
                self.skip -= skip;
                content = content.as_slice().split_at(skip).1.iter();
            } else if let (Some(byte), Some(place)) = (content.next(), self.head.get_mut(self.have))
            {
                *place = *byte;
                self.have += 1;
                if let Some(update) = self.begun(tickets)? {
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

    /// Looks at as much of a message as there is.
    fn begun(&mut self, tickets: bool) -> Result<Option<Said>, Fault> {
        let [kind, high, middle, low, asked] = self.head;
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
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
                self.skip = length;
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
