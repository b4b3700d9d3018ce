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

use bytes::Bytes;
use h2::{Reason, SendStream};

/// Bytes kept; an application that sends more waits for the answer.
const BOUND: usize = 64 * 1024;

/// What was read from the application of a stream that is not answered.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pieces: Vec<Bytes>,
    size: usize,
    ended: bool,
    /// How many of the pieces have been given to the present stream.
    sent: usize,
    end_sent: bool,
}

impl Kept {
    /// How many more bytes may be taken from the application.
    pub(crate) const fn room(&self) -> usize {
        BOUND - self.size
    }

    /// Adds what was read; nothing is the end.
    pub(crate) fn push(&mut self, data: Bytes) {
        self.size += data.len();
        self.ended |= data.is_empty();
        if !data.is_empty() {
            self.pieces.push(data);
        }
    }

    /// Gives the stream what it has not got yet. It needs no window: there is room for the bound
    /// in what the library buffers.
    pub(crate) fn send(&mut self, stream: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
        while let Some(piece) = self.pieces.get(self.sent) {
            stream.send_data(piece.clone(), false)?;
            self.sent += 1;
        }
        if self.ended && !self.end_sent {
            stream.send_data(Bytes::new(), true)?;
            self.end_sent = true;
        }
        Ok(())
    }

    /// The next stream has got nothing yet.
    pub(crate) fn begin_again(&mut self) {
        self.sent = 0;
        self.end_sent = false;
    }

    pub(crate) const fn nothing_sent(&self) -> bool {
        self.sent == 0 && !self.end_sent
    }
}

/// Whether the peer has said that it did not look at the stream.
pub(crate) fn not_processed(error: &h2::Error) -> bool {
    // The library fails a stream with the peer's GOAWAY only if its number is above the last that
    // the peer names; those below live on.
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (error.is_go_away() || refused)
}
