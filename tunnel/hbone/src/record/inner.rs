//! The buffers and the state machine of one TLS connection.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustls::unbuffered::{ConnectionState, ReadTraffic, UnbufferedStatus, WriteTraffic};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Records;
use super::heads::Heads;
use super::room::{append, encode_room, encrypt_room, tls_error};
use crate::buffers;

/// Plaintext gathered before it is sealed: one full TLS record (RFC 8446 5.1).
pub(super) const RECORD: usize = 16 * 1024;
/// Plaintext that HTTP/2 is given in one turn of the event loop. It reads on until there is no more,
/// so a peer that never stops sending would keep the streams and everybody else on the thread waiting.
pub(super) const TURN: usize = 256 * 1024;
/// Ciphertext waiting to be sent before writers are held back, bytes. It is sent as soon as there is so much, once in a
/// turn of the event loop; the rest goes at the turn's end.
pub(super) const HIGH_WATER: usize = 512 * 1024;
/// Worst case growth of a record: header, content type, tag (RFC 8446 5.2), rounded up.
const RECORD_OVERHEAD: usize = 64;

/// Where the state machine stands after a step.
pub(super) enum Step {
    /// It needs more bytes from the peer (and may send application data if the handshake is over).
    Wants { may_write: bool },
    /// The peer has said that it will send no more.
    PeerClosed,
}

pub(super) struct Inner<S, R> {
    pub(super) stream: S,
    pub(super) tls: R,
    /// Received, not yet processed: `incoming[start..end]`. Empty while nothing is buffered.
    pub(super) incoming: Vec<u8>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Decrypted, not yet read: `decrypted[read..]`. Without room while there is nothing.
    pub(super) decrypted: Vec<u8>,
    pub(super) read: usize,
    /// Gathered, not yet encrypted; at most one record.
    pub(super) gathered: Vec<u8>,
    /// Encrypted, not yet sent: `sealed[sent..]`.
    pub(super) sealed: Vec<u8>,
    pub(super) sent: usize,
    /// Plaintext that may still be read in this turn of the event loop.
    pub(super) turn: usize,
    pub(super) ended: bool,
    pub(super) closing: bool,
    pub(super) received_total: u64,
    /// Bytes of ciphertext that the kernel took.
    pub(super) sent_total: u64,
    /// What that was when this turn of the event loop began.
    pub(super) turn_began: u64,
    /// Why nothing can be sent any more, while what the peer sent before is still read.
    pub(super) broken: Option<io::Error>,
    /// Who waits for answers to be sent.
    pub(super) heads: Option<Rc<Heads>>,
}

impl<S, R> Inner<S, R> {
    pub(super) const fn new(stream: S, tls: R) -> Self {
        Self {
            stream,
            tls,
            incoming: Vec::new(),
            start: 0,
            end: 0,
            decrypted: Vec::new(),
            read: 0,
            gathered: Vec::new(),
            sealed: Vec::new(),
            sent: 0,
            turn: TURN,
            ended: false,
            closing: false,
            received_total: 0,
            sent_total: 0,
            turn_began: 0,
            broken: None,
            heads: None,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Records> Inner<S, R> {
    /// Processes what has been received until the state machine needs more, keeping plaintext in
    /// `decrypted` and replies in `sealed`. Stops early at one buffer of plaintext.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        loop {
            let Self {
                tls,
                incoming,
                start,
                end,
                decrypted,
                sealed,
                ..
            } = self;
            let UnbufferedStatus { discard, state } = tls.process(&mut incoming[*start..*end]);
            let next = match state {
                Ok(ConnectionState::ReadTraffic(traffic)) => {
                    take_records(traffic, decrypted)?;
                    None
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    append(sealed, RECORD, |room| data.encode(room), encode_room)?;
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::WriteTraffic(_)) => Some(Step::Wants { may_write: true }),
                Ok(ConnectionState::BlockedHandshake) => Some(Step::Wants { may_write: false }),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(Step::PeerClosed),
                Ok(_) => return Err(io::Error::other("early data is not offered")),
                Err(error) => return Err(self.refused(discard, error)),
            };
            self.start += discard;
            self.release_incoming();
            match next {
                Some(step) => return Ok(step),
                None if self.decrypted.len() >= buffers::BUFFER => {
                    return Ok(Step::Wants { may_write: true });
                }
                None => {}
            }
        }
    }

    /// After an error, the alert that tells the peer is still to be encoded.
    fn refused(&mut self, discard: usize, error: rustls::Error) -> io::Error {
        self.start += discard;
        let Self {
            tls,
            incoming,
            start,
            end,
            sealed,
            ..
        } = self;
        if let Ok(ConnectionState::EncodeTlsData(mut data)) =
            tls.process(&mut incoming[*start..*end]).state
        {
            drop(append(
                sealed,
                RECORD,
                |room| data.encode(room),
                encode_room,
            ));
        }
        tls_error(error)
    }

    fn release_incoming(&mut self) {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            buffers::give(std::mem::take(&mut self.incoming));
        }
    }

    /// Receives more ciphertext; 0 means that the peer closed the stream.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.incoming.is_empty() {
            self.incoming = buffers::take();
        }
        if self.end == self.incoming.len() {
            self.incoming.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let mut room = ReadBuf::new(&mut self.incoming[self.end..]);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut room);
        let n = room.filled().len();
        match polled {
            Poll::Ready(Ok(())) => {
                self.end += n;
                self.received_total += n as u64;
                if n == 0 {
                    self.release_incoming();
                }
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.release_incoming();
                Poll::Pending
            }
        }
    }

    /// Gathers plaintext; large pieces are encrypted where they lie.
    pub(super) fn put(&mut self, mut data: &[u8]) -> io::Result<()> {
        if self.gathered.len() + data.len() < RECORD {
            self.gathered.extend_from_slice(data);
            return Ok(());
        }
        if !self.gathered.is_empty() {
            let fits = RECORD - self.gathered.len();
            self.gathered.extend_from_slice(&data[..fits]);
            data = &data[fits..];
            self.seal_gathered()?;
        }
        let whole = data.len() - data.len() % RECORD;
        if whole > 0 {
            self.seal(&data[..whole])?;
        }
        self.gathered.extend_from_slice(&data[whole..]);
        Ok(())
    }

    pub(super) fn seal_gathered(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        self.seal(&gathered)?;
        gathered.clear();
        self.gathered = gathered;
        Ok(())
    }

    fn seal(&mut self, plaintext: &[u8]) -> io::Result<()> {
        let size = plaintext.len() + (plaintext.len() / RECORD + 1) * RECORD_OVERHEAD;
        self.when_writable(|traffic, sealed| {
            append(
                sealed,
                size,
                |room| traffic.encrypt(plaintext, room),
                encrypt_room,
            )
        })
    }

    /// Runs `write` at the state in which application data may be encrypted. What has arrived and
    /// was not yet processed is processed on the way: the state machine is only ever shown the
    /// real input.
    pub(super) fn when_writable(
        &mut self,
        write: impl FnOnce(&mut WriteTraffic<'_, R::Data>, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let Self {
                tls,
                incoming,
                start,
                end,
                decrypted,
                sealed,
                ..
            } = self;
            let UnbufferedStatus { discard, state } = tls.process(&mut incoming[*start..*end]);
            let done = match state.map_err(tls_error)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    write(&mut traffic, sealed)?;
                    self.start += discard;
                    self.release_incoming();
                    return Ok(());
                }
                ConnectionState::ReadTraffic(traffic) => {
                    take_records(traffic, decrypted)?;
                    false
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    append(sealed, RECORD, |room| data.encode(room), encode_room)?;
                    false
                }
                ConnectionState::TransmitTlsData(data) => {
                    data.done();
                    false
                }
                ConnectionState::PeerClosed => {
                    self.ended = true;
                    false
                }
                _ => true,
            };
            self.start += discard;
            self.release_incoming();
            if done {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }

    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.sealed.len() {
            let sent = Pin::new(&mut self.stream).poll_write(cx, &self.sealed[self.sent..]);
            if sent.is_pending() {
                self.forget_sent();
            }
            let n = ready!(sent)?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
            self.sent_total += n as u64;
        }
        self.sealed.clear();
        self.sent = 0;
        if self.sealed.capacity() > HIGH_WATER {
            self.sealed = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    /// The same, for an established tunnel. When the connection is broken, what the peer said
    /// before is still in the kernel, and whoever waits for an answer must hear it: so nothing
    /// fails here, and the end comes with the end of what can be read.
    pub(super) fn poll_drain_or_listen(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_none() {
            let drained = self.poll_drain(cx);
            if let Some(heads) = &self.heads {
                heads.sent(self.sent_total);
            }
            if let Poll::Ready(Err(error)) = drained {
                self.broken = Some(error);
            } else {
                return drained;
            }
        }
        self.sealed.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Whoever waits for an answer that has been encrypted now waits for its place to be sent.
    pub(super) fn mark_sealed(&self) {
        if let Some(heads) = &self.heads {
            heads.sealed(self.sent_total + (self.sealed.len() - self.sent) as u64);
        }
    }

    /// A sender that its peer never catches up with never empties the buffer: what has been sent
    /// would stay in it for as long as the connection lasts. Moves no more than was sent.
    fn forget_sent(&mut self) {
        if self.sent * 2 >= self.sealed.len() {
            self.sealed.drain(..self.sent);
            self.sent = 0;
        }
    }

    pub(super) fn take_decrypted(&mut self, room: &mut ReadBuf<'_>) -> bool {
        let left = &self.decrypted[self.read..];
        if left.is_empty() {
            return false;
        }
        let n = left.len().min(room.remaining());
        room.put_slice(&left[..n]);
        self.read += n;
        self.turn = self.turn.saturating_sub(n);
        if self.read == self.decrypted.len() {
            self.read = 0;
            buffers::give_empty(std::mem::take(&mut self.decrypted));
        }
        true
    }
}

/// Keeps the plaintext of records that have been decrypted.
fn take_records<D>(mut traffic: ReadTraffic<'_, '_, D>, decrypted: &mut Vec<u8>) -> io::Result<()> {
    while let Some(record) = traffic.next_record() {
        if decrypted.capacity() == 0 {
            *decrypted = buffers::empty();
        }
        decrypted.extend_from_slice(record.map_err(tls_error)?.payload);
    }
    Ok(())
}
