//! An established connection over a byte stream.

use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::AlertDescription;
use tokio::io::{AsyncRead, AsyncWrite};

use super::fault::{Fault, tls_error};
use super::gather::Gather;
use super::incoming::Incoming;
use super::key::{Key, Secrets};
use super::opener::{Opener, Record};
use super::talk::OWN_UPDATE;
use super::{ALERT, DATA, HANDSHAKE, pool};

/// Records sealed with one key. AES-GCM stays safe for some more than twice as many (RFC 8446 5.5).
const SEALED: u64 = 1 << 23;

/// Levels of alerts.
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// What [`TlsIo::poll_open`] came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// There may be pieces.
    Some,
    /// The peer will send no more.
    End,
}

/// An established TLS connection over `S`.
pub struct TlsIo<S> {
    pub(super) stream: S,
    incoming: Incoming,
    /// What has been opened: places in `incoming`.
    pieces: Vec<Range<usize>>,
    opener: Opener,
    /// Records of the handshake that leave before all others.
    unsent: Vec<u8>,
    pub(super) tx: Key,
    pub(super) secrets: Box<dyn Secrets>,
    /// Records that one key may seal.
    pub(super) limit: u64,
    /// Where in what we send our last answer to a key update ends.
    answered: u64,
    /// What comes behind the pieces.
    fault: Option<Fault>,
    ended: bool,
    closing: bool,
    /// Nothing can be sent any more.
    broken: bool,
    /// Why, until it has been told.
    why: Option<io::Error>,
}

impl<S> std::fmt::Debug for TlsIo<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsIo")
    }
}

impl<S> TlsIo<S> {
    /// Takes over with these keys, with what has been received already, and with what the
    /// handshake has sealed and not sent.
    pub(super) fn new(
        stream: S,
        incoming: Incoming,
        (tx, unsent): (Key, Vec<u8>),
        opener: Opener,
        secrets: Box<dyn Secrets>,
    ) -> Self {
        Self {
            stream,
            incoming,
            pieces: Vec::new(),
            opener,
            unsent,
            tx,
            secrets,
            limit: SEALED,
            answered: 0,
            fault: None,
            ended: false,
            closing: false,
            broken: false,
            why: None,
        }
    }

    /// Plaintext of the last `poll_open`, in order: pieces of one buffer.
    pub(crate) fn pieces(&self) -> (&[u8], &[Range<usize>]) {
        (self.incoming.buffer(), &self.pieces)
    }

    /// The pieces have been used. The buffer goes back if there is nothing else in it.
    pub(crate) fn release(&mut self) {
        pool::give_list(std::mem::take(&mut self.pieces));
        self.incoming.settle();
    }

    /// Bytes of ciphertext received so far: tells a live peer from a silent one.
    pub(crate) const fn received(&self) -> u64 {
        self.incoming.total()
    }

    /// Opens all records that are complete, up to one that ends the connection.
    fn open(&mut self) {
        while self.fault.is_none() && !self.ended {
            match self.opener.next(&mut self.incoming, &mut *self.secrets) {
                Ok(None) => return,
                Ok(Some(Record::Data(piece))) => {
                    if self.pieces.capacity() == 0 {
                        self.pieces = pool::take_list();
                    }
                    self.pieces.push(piece);
                }
                Ok(Some(Record::Close)) => self.ended = true,
                Ok(Some(Record::Other)) => {}
                Err(fault) => self.fault = Some(fault),
            }
        }
    }

    /// The peer wants our key changed. While our last answer is still here, it answers this too.
    fn answer_update(&mut self, gather: &mut Gather) -> io::Result<()> {
        let asked = std::mem::take(&mut self.opener.asked);
        if asked && !self.broken && !self.closing && gather.cipher_sent() >= self.answered {
            self.update_own(gather)?;
            self.answered = gather.cipher_end();
        }
        Ok(())
    }

    /// Says that the next key is used, and uses it. Bytes that wait to be sealed come behind that.
    fn update_own(&mut self, gather: &mut Gather) -> io::Result<()> {
        let record = self.tx.seal_small(HANDSHAKE, OWN_UPDATE)?;
        self.put_sealed(gather, &record);
        self.tx = self.secrets.next_tx().map_err(tls_error)?;
        Ok(())
    }

    fn seal(&mut self, gather: &mut Gather) -> io::Result<()> {
        if self.closing {
            // Nothing may follow the word that nothing follows.
            gather.discard_plain();
            return Ok(());
        }
        self.put_unsent(gather);
        let records = gather.unsealed() as u64;
        if records > 0 && self.tx.sequence().saturating_add(records) > self.limit {
            self.update_own(gather)?;
        }
        gather.seal(|record| self.tx.seal(DATA, record))
    }

    fn put_alert(&mut self, gather: &mut Gather, level: u8, alert: AlertDescription) {
        if let Ok(record) = self.tx.seal_small(ALERT, &[level, alert.into()]) {
            self.put_sealed(gather, &record);
        }
    }

    fn put_sealed(&mut self, gather: &mut Gather, record: &[u8]) {
        self.put_unsent(gather);
        gather.put_sealed(record);
    }

    /// What the handshake has left comes first.
    fn put_unsent(&mut self, gather: &mut Gather) {
        if !self.unsent.is_empty() {
            gather.put_sealed(&std::mem::take(&mut self.unsent));
        }
    }

    /// Nothing more can be sent, and nothing that waits was.
    fn break_off(&mut self, gather: &mut Gather, why: Option<io::Error>) {
        gather.discard();
        self.broken = true;
        self.why = why;
    }

    fn end(&mut self) -> io::Result<Opened> {
        self.incoming.clear();
        if self.broken {
            let closed = || io::ErrorKind::BrokenPipe.into();
            return Err(self.why.take().unwrap_or_else(closed));
        }
        Ok(Opened::End)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsIo<S> {
    /// Tells a client why nothing comes of the connection, as far as the stream takes it now. A server
    /// cannot be told: this end's last word is still here, and who is not believed does not get it.
    pub async fn refuse(mut self, why: AlertDescription) {
        let mut gather = Gather::default();
        self.put_alert(&mut gather, FATAL, why);
        poll_fn(|cx| {
            drop(self.poll_write(cx, &mut gather, usize::MAX));
            Poll::Ready(())
        })
        .await;
    }

    /// Opens what has been received; if nothing is complete, receives what the socket has. The
    /// pieces of the last call are gone. The end of the stream is an end without `close_notify`
    /// too: HTTP/2 says itself when it is done.
    ///
    /// # Errors
    /// The peer broke the rules or said that it gives up; or the stream is broken.
    pub(crate) fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        gather: &mut Gather,
        most: usize,
    ) -> Poll<io::Result<Opened>> {
        self.release();
        loop {
            self.open();
            self.answer_update(gather)?;
            if !self.pieces.is_empty() {
                return Poll::Ready(Ok(Opened::Some));
            }
            if let Some(fault) = self.fault.take() {
                return Poll::Ready(Err(self.fail(cx, gather, fault)));
            }
            if self.ended {
                return Poll::Ready(self.end());
            }
            if ready!(self.incoming.poll_fill(&mut self.stream, cx, most))? == 0 {
                self.ended = true;
            }
        }
    }

    /// Seals what was gathered and sends it, at most `most` bytes in this call: then it wakes
    /// itself. Ready when everything is with the kernel. When the stream is broken, what the peer
    /// said before is still in the kernel and must be heard: so nothing fails here, and the error
    /// comes where the end of what can be read is.
    ///
    /// # Errors
    /// There are no keys left.
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        gather: &mut Gather,
        most: usize,
    ) -> Poll<io::Result<()>> {
        if !self.broken {
            if let Err(error) = self.seal(gather) {
                self.break_off(gather, None);
                return Poll::Ready(Err(error));
            }
            match self.poll_write(cx, gather, most) {
                Poll::Ready(Err(error)) => self.break_off(gather, Some(error)),
                other => return other,
            }
        }
        gather.discard();
        Poll::Ready(Ok(()))
    }

    /// Sends what waits, then `close_notify`, and shuts the stream down.
    ///
    /// # Errors
    /// What the stream says to being shut down.
    pub(crate) fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        gather: &mut Gather,
    ) -> Poll<io::Result<()>> {
        // A peer that cannot be told is not: the stream below is shut down anyway.
        if !self.closing && !self.broken && self.seal(gather).is_ok() {
            self.put_alert(gather, WARNING, AlertDescription::CloseNotify);
        }
        self.closing = true;
        ready!(self.poll_send(cx, gather, usize::MAX))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Tells the peer what it did wrong, as far as the stream takes it now.
    fn fail(&mut self, cx: &mut Context<'_>, gather: &mut Gather, fault: Fault) -> io::Error {
        if let (Some(alert), false, false) = (fault.alert, self.broken, self.closing) {
            gather.discard_plain();
            self.put_alert(gather, FATAL, alert);
            drop(self.poll_write(cx, gather, usize::MAX));
        }
        self.break_off(gather, None);
        self.ended = true;
        self.incoming.clear();
        fault.into_error()
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        gather: &mut Gather,
        most: usize,
    ) -> Poll<io::Result<()>> {
        let mut left = most;
        loop {
            let waiting = gather.sendable();
            if waiting.is_empty() {
                gather.settle();
                return Poll::Ready(Ok(()));
            }
            let now = waiting.get(..left).unwrap_or(waiting);
            if now.is_empty() {
                crate::turn::later(cx);
                gather.settle();
                return Poll::Pending;
            }
            let Poll::Ready(sent) = Pin::new(&mut self.stream).poll_write(cx, now) else {
                gather.settle();
                return Poll::Pending;
            };
            match sent? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => {
                    gather.advance(n);
                    left = left.saturating_sub(n);
                }
            }
        }
    }
}
