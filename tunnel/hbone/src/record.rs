//! TLS records over a byte stream, for one thread, sent once for each turn of the event loop.
//!
//! What is written is gathered as plaintext, encrypted in full records, and leaves the process
//! when the owner of the connection calls [`TlsIo::poll_send`] after everything that was ready has
//! been framed. HTTP/2 flushes after every frame; were each of those a record and a system call,
//! many busy streams would pay for each other. So `poll_flush` only says yes, and the driver sends.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::buffers;

/// Plaintext gathered before it is sealed: one full TLS record (RFC 8446 5.1).
const RECORD: usize = 16 * 1024;
/// Ciphertext waiting to be sent before writers are held back, bytes.
const HIGH_WATER: usize = 512 * 1024;
/// Worst case growth of a record: header, content type, tag (RFC 8446 5.2), rounded up.
const RECORD_OVERHEAD: usize = 64;

/// One side's TLS state machine.
pub trait Records: Unpin {
    /// The library's per-side data.
    type Data;
    /// Runs the state machine over what has arrived.
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Records for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Records for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn process<'c, 'i>(
        &'c mut self,
        incoming: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

/// Where the state machine stands after a step.
enum Step {
    /// It needs more bytes from the peer (and may send application data if the handshake is over).
    Wants { may_write: bool },
    /// The peer has said that it will send no more.
    PeerClosed,
}

struct Inner<S, R> {
    stream: S,
    tls: R,
    /// Received, not yet processed: `incoming[start..end]`. Empty while nothing is buffered.
    incoming: Vec<u8>,
    start: usize,
    end: usize,
    /// Decrypted, not yet read: `decrypted[read..]`.
    decrypted: Vec<u8>,
    read: usize,
    /// Gathered, not yet encrypted; at most one record.
    gathered: Vec<u8>,
    /// Encrypted, not yet sent: `sealed[sent..]`.
    sealed: Vec<u8>,
    sent: usize,
    ended: bool,
    closing: bool,
    received_total: u64,
}

/// A TLS connection whose handshake is complete. Clones are the same connection: one is given to
/// HTTP/2, one stays with the driver that sends.
pub struct TlsIo<S, R>(Rc<RefCell<Inner<S, R>>>);

impl<S, R> Clone for TlsIo<S, R> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<S, R> std::fmt::Debug for TlsIo<S, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsIo")
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Records> TlsIo<S, R> {
    pub(crate) fn new(stream: S, tls: R) -> Self {
        Self(Rc::new(RefCell::new(Inner {
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
            ended: false,
            closing: false,
            received_total: 0,
        })))
    }

    /// Drives the handshake to its end, sending and receiving as needed.
    pub(crate) fn poll_handshake(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        loop {
            let step = match inner.step() {
                Ok(step) => step,
                Err(error) => {
                    // The peer is told why; whether it still listens does not matter.
                    drop(inner.poll_drain(cx));
                    return Poll::Ready(Err(error));
                }
            };
            let sent = inner.poll_drain(cx)?;
            match step {
                Step::Wants { may_write: true } => {
                    ready!(sent);
                    return Poll::Ready(Ok(()));
                }
                Step::PeerClosed => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Step::Wants { may_write: false } => {
                    if ready!(inner.poll_fill(cx))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }

    /// Encrypts what was gathered and sends it, as far as the socket takes it.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        inner.seal_gathered()?;
        inner.poll_drain(cx)
    }

    /// Bytes received from the peer so far: tells a live peer from a silent one.
    pub(crate) fn received(&self) -> u64 {
        self.0.borrow().received_total
    }

    pub(crate) fn with_tls<T>(&self, look: impl FnOnce(&R) -> T) -> T {
        look(&self.0.borrow().tls)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Records> Inner<S, R> {
    /// Processes what has been received until the state machine needs more, keeping plaintext in
    /// `decrypted` and replies in `sealed`. Stops early at one buffer of plaintext.
    fn step(&mut self) -> io::Result<Step> {
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
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        decrypted.extend_from_slice(record.map_err(tls_error)?.payload);
                    }
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
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
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
    fn put(&mut self, mut data: &[u8]) -> io::Result<()> {
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

    fn seal_gathered(&mut self) -> io::Result<()> {
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
    fn when_writable(
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
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        decrypted.extend_from_slice(record.map_err(tls_error)?.payload);
                    }
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

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.sealed.len() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.sealed[self.sent..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        self.sealed.clear();
        self.sent = 0;
        if self.sealed.capacity() > HIGH_WATER {
            self.sealed = Vec::new();
        }
        Poll::Ready(Ok(()))
    }

    fn take_decrypted(&mut self, room: &mut ReadBuf<'_>) -> bool {
        let left = &self.decrypted[self.read..];
        if left.is_empty() {
            return false;
        }
        let n = left.len().min(room.remaining());
        room.put_slice(&left[..n]);
        self.read += n;
        if self.read == self.decrypted.len() {
            self.read = 0;
            self.decrypted.clear();
            if self.incoming.is_empty() && self.decrypted.capacity() > RECORD {
                self.decrypted = Vec::new();
            }
        }
        true
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Records> AsyncRead for TlsIo<S, R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        loop {
            if inner.take_decrypted(room) || inner.ended {
                return Poll::Ready(Ok(()));
            }
            if inner.start < inner.end {
                if matches!(inner.step()?, Step::PeerClosed) {
                    inner.ended = true;
                }
                if !inner.decrypted.is_empty() || inner.ended {
                    continue;
                }
            }
            if ready!(inner.poll_fill(cx))? == 0 {
                inner.ended = true;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Records> AsyncWrite for TlsIo<S, R> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.sealed.len() - inner.sent >= HIGH_WATER {
            // Partly sent is enough to go on, so the answer of a full socket is not an error here.
            if inner.poll_drain(cx)?.is_pending() && inner.sealed.len() - inner.sent >= HIGH_WATER {
                return Poll::Pending;
            }
        }
        let mut n = 0;
        for piece in pieces {
            inner.put(piece)?;
            n += piece.len();
        }
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if !inner.closing {
            inner.closing = true;
            inner.seal_gathered()?;
            // A peer that is gone already cannot be told; the stream below is shut down anyway.
            drop(inner.when_writable(|traffic, sealed| {
                append(
                    sealed,
                    RECORD,
                    |room| traffic.queue_close_notify(room),
                    encrypt_room,
                )
            }));
        }
        ready!(inner.poll_drain(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

/// Lets `write` fill room at the end of `sealed`, with more room when it asks for more.
fn append<E: std::fmt::Display>(
    sealed: &mut Vec<u8>,
    size: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
    wanted: impl Fn(&E) -> Option<usize>,
) -> io::Result<()> {
    let old = sealed.len();
    let mut size = size;
    loop {
        sealed.resize(old + size, 0);
        match write(&mut sealed[old..]) {
            Ok(n) => {
                sealed.truncate(old + n);
                return Ok(());
            }
            Err(error) => match wanted(&error) {
                Some(more) if more > size => size = more,
                _ => {
                    sealed.truncate(old);
                    return Err(io::Error::other(error.to_string()));
                }
            },
        }
    }
}

fn encode_room(error: &EncodeError) -> Option<usize> {
    match error {
        EncodeError::InsufficientSize(size) => Some(size.required_size),
        EncodeError::AlreadyEncoded => None,
    }
}

fn encrypt_room(error: &EncryptError) -> Option<usize> {
    match error {
        EncryptError::InsufficientSize(size) => Some(size.required_size),
        EncryptError::EncryptExhausted => None,
    }
}

fn tls_error(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
