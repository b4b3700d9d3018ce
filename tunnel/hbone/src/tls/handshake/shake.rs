//! A handshake under way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::fault::{general, tls_error};
use super::super::incoming::Incoming;
use super::super::key::Key;
use super::super::opener::Opener;
use super::super::talk::Tickets;
use super::super::{HEADER, RECORD, TlsIo};
use super::Shown;
use super::side::Side;

/// Longest chain of a session that is kept, bytes.
const LONGEST: usize = 8 * 1024;

/// Where the state machine stands.
enum Step {
    /// It needs more from the peer.
    Wants,
    /// The handshake is complete.
    Done,
    /// The peer has said that it will send no more.
    Closed,
}

/// The library is shown one record after the other, so that the first one behind the handshake is
/// ours: whatever it decrypted, and a change of key that it would have answered, would be lost.
pub(super) struct Shake<S, R> {
    stream: S,
    tls: R,
    incoming: Incoming,
    /// Of what waits in `incoming`, so much has been shown.
    shown: usize,
    /// Where the record ends that is shown last; more than `shown` if not all of it is there.
    record: usize,
    outgoing: Vec<u8>,
    sent: usize,
}

impl<S, R: Side> Shake<S, R> {
    pub(super) fn new(stream: S, tls: R) -> Self {
        Self {
            stream,
            tls,
            incoming: Incoming::default(),
            shown: 0,
            record: 0,
            outgoing: Vec::new(),
            sent: 0,
        }
    }

    /// Hands over: the keys are ours, and so is everything behind the handshake.
    pub(super) fn finish(self) -> io::Result<(TlsIo<S>, Shown)> {
        if self.shown > 0 {
            return Err(tls_error(general("a record goes on behind the handshake")));
        }
        let shown = self.tls.shown();
        let (secrets, next) = self.tls.into_keys().map_err(tls_error)?;
        let tx = Key::new(secrets.tx).map_err(tls_error)?;
        let rx = Key::new(secrets.rx).map_err(tls_error)?;
        let opener = Opener::new(rx, tickets::<R>(&shown));
        let mut unsent = self.outgoing;
        unsent.drain(..self.sent);
        let io = TlsIo::new(self.stream, self.incoming, (tx, unsent), opener, next);
        Ok((io, shown))
    }

    /// Shows one more record, or more of the last one; false if there is nothing new.
    fn show(&mut self) -> bool {
        if self.shown == self.record {
            let Some([.., high, low]) = self.incoming.header(self.record) else {
                return false;
            };
            self.record += HEADER + usize::from(u16::from_be_bytes([high, low]));
        }
        let before = self.shown;
        self.shown = self.record.min(self.incoming.waiting().len());
        self.shown > before
    }

    /// Runs the state machine until it needs more, keeping what it has to say.
    fn step(&mut self) -> io::Result<Step> {
        loop {
            let (_, shown) = self.incoming.front(self.shown);
            let UnbufferedStatus { discard, state } = self.tls.process(shown);
            let step = match state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, &mut self.outgoing)?;
                    None
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    None
                }
                Ok(ConnectionState::WriteTraffic(_)) => Some(Step::Done),
                Ok(ConnectionState::BlockedHandshake) => Some(Step::Wants),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(Step::Closed),
                Ok(_) => return Err(tls_error(general("data before the handshake's end"))),
                Err(error) => {
                    self.discard(discard);
                    self.encode_alert();
                    return Err(tls_error(error));
                }
            };
            self.discard(discard);
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// The library is done with so many bytes.
    fn discard(&mut self, n: usize) {
        self.incoming.consume(n);
        self.shown = self.shown.saturating_sub(n);
        self.record = self.record.saturating_sub(n);
    }

    /// After an error, the alert that tells the peer is still to be encoded.
    fn encode_alert(&mut self) {
        let (_, shown) = self.incoming.front(self.shown);
        if let Ok(ConnectionState::EncodeTlsData(data)) = self.tls.process(shown).state {
            // If that fails too, the peer is not told.
            drop(encode(data, &mut self.outgoing));
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Side> Shake<S, R> {
    /// Drives the handshake to its end. What is to be sent last leaves together with what the
    /// connection says first: a client's last word, a server's ticket.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let step = match self.step() {
                Ok(step) => step,
                Err(error) => {
                    // The peer is told why; whether it still listens does not matter.
                    drop(self.poll_drain(cx));
                    return Poll::Ready(Err(error));
                }
            };
            match step {
                Step::Done => return Poll::Ready(Ok(())),
                Step::Closed => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Step::Wants if self.show() => {}
                Step::Wants => {
                    // While not all of it can be sent, the peer may still be heard.
                    let _sent = self.poll_drain(cx)?;
                    while !self.show() {
                        if ready!(self.incoming.poll_fill(&mut self.stream, cx, usize::MAX))? == 0 {
                            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                        }
                    }
                }
            }
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(waiting) = self.outgoing.get(self.sent..).filter(|w| !w.is_empty()) {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, waiting))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        self.outgoing.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

/// A session holds the chain of the server that it is with: one that is very long is not kept.
fn tickets<R: Side>(shown: &Shown) -> Tickets {
    let size = shown.unjudged.iter().map(|der| der.len()).sum::<usize>();
    match (R::TICKETS, size <= LONGEST) {
        (false, _) => Tickets::Unexpected,
        (true, true) => Tickets::Wanted,
        (true, false) => Tickets::Skipped,
    }
}

/// Encodes a record at the end of what is to be sent.
fn encode<D>(mut data: EncodeTlsData<'_, D>, outgoing: &mut Vec<u8>) -> io::Result<()> {
    let old = outgoing.len();
    let mut size = RECORD;
    loop {
        outgoing.resize(old + size, 0);
        match data.encode(outgoing.get_mut(old..).unwrap_or_default()) {
            Ok(n) => {
                outgoing.truncate(old + n);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(wanted)) if wanted.required_size > size => {
                size = wanted.required_size;
            }
            Err(error) => {
                outgoing.truncate(old);
                return Err(io::Error::other(error.to_string()));
            }
        }
    }
}
