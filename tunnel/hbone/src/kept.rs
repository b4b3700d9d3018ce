//! What an application sent before the peer answered, kept to be sent again by another tunnel.
//!
//! A stream whose tunnel fails before the answer can be carried to another one as long as the
//! application behind the peer has got nothing of it. The rule:
//!
//! 1. The peer has said that it did not process the stream (`REFUSED_STREAM`, or GOAWAY with a
//!    lower last stream; RFC 9113 8.7): certain, whatever was sent.
//! 2. The connection died and no byte was sent on the stream: certain.
//! 3. The connection died and the peer *answers first*: it hands a stream's bytes to its
//!    application only once its 200 is with the kernel, and says so in that 200
//!    ([`ANSWER_FIRST`](crate::ANSWER_FIRST)). No answer has come, so nothing was handed over.
//!    A tunnel that *we* ended because the peer was silent is not this case: there the answer may
//!    have got lost on the way.
//! 4. Anything else ends the connection with an error.
//!
//! What a peer said is remembered for each tunnel, and for the peer across tunnels. To a peer that
//! has never answered, nothing is sent before its first answer: one more round trip for the first
//! connection (which pays for a handshake already), and then rule 2 covers it.
//!
//! What the third rule does not cover: an answer that the peer's kernel had and could not deliver,
//! because the peer was killed with unread bytes in the socket (its kernel then says RST at once)
//! while older bytes kept the answer from leaving. There the application may see the beginning of
//! a connection twice, the first of which it saw end with a reset.

use std::io::{self, IoSliceMut};

use crate::http2::Handle;

/// Bytes kept; an application that sends more waits for the answer.
const BOUND: usize = 64 * 1024;

/// What was read from the application of a stream that is not answered.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    ended: bool,
    /// How much of it has been given to the present stream.
    sent: usize,
    end_sent: bool,
}

impl Kept {
    /// How many more bytes may be taken from the application.
    pub(crate) const fn room(&self) -> usize {
        BOUND - self.bytes.len()
    }

    /// Whether the application has said all it has to say.
    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Keeps what `read` puts into `room`, which is on its way to the stream.
    pub(crate) fn take(
        &mut self,
        room: &mut [IoSliceMut<'_>],
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let n = read(room)?;
        let mut left = n;
        for part in room {
            let took = part.len().min(left);
            self.bytes.extend_from_slice(&part[..took]);
            left -= took;
        }
        self.sent += n;
        if n == 0 {
            (self.ended, self.end_sent) = (true, true);
        }
        Ok(n)
    }

    /// Gives the stream what it has not got yet; whether there was room for all of it.
    pub(crate) fn send(&mut self, stream: &Handle) -> bool {
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match stream.send_kept(rest) {
                0 => return false,
                n => self.sent += n,
            }
        }
        if self.ended && !self.end_sent {
            stream.finish();
            self.end_sent = true;
        }
        true
    }

    /// The next stream has got nothing yet.
    pub(crate) const fn begin_again(&mut self) {
        self.sent = 0;
        self.end_sent = false;
    }

    pub(crate) const fn nothing_sent(&self) -> bool {
        self.sent == 0 && !self.end_sent
    }
}
