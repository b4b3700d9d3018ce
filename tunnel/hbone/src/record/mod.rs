//! TLS records over a byte stream, for one thread, sent once for each turn of the event loop.
//!
//! What is written is gathered as plaintext, encrypted in full records, and leaves the process
//! when the owner of the connection calls [`TlsIo::poll_send`] after everything that was ready has
//! been framed. HTTP/2 flushes after every frame; were each of those a record and a system call,
//! many busy streams would pay for each other. So `poll_flush` only says yes, and the driver sends.

mod heads;
mod inner;
mod room;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::UnbufferedStatus;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use heads::Answered;
pub(crate) use heads::Heads;
use inner::{HIGH_WATER, Inner, RECORD, Step, TURN};
use room::{append, encrypt_room};

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
        Self(Rc::new(RefCell::new(Inner::new(stream, tls))))
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
        inner.turn = TURN;
        inner.seal_gathered()?;
        inner.mark_sealed();
        let drained = inner.poll_drain_or_listen(cx);
        inner.turn_began = inner.sent_total;
        drained
    }

    /// From now on tells when answers have been sent; to be called before the first of HTTP/2.
    pub(crate) fn watch(&self, heads: &Rc<Heads>) {
        self.0.borrow_mut().heads = Some(Rc::clone(heads));
    }

    /// Bytes received from the peer so far: tells a live peer from a silent one.
    pub(crate) fn received(&self) -> u64 {
        self.0.borrow().received_total
    }

    /// Room taken by what is encrypted, bytes.
    #[cfg(test)]
    pub(crate) fn room_sealed(&self) -> usize {
        self.0.borrow().sealed.capacity()
    }

    pub(crate) fn with_tls<T>(&self, look: impl FnOnce(&R) -> T) -> T {
        look(&self.0.borrow().tls)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, R: Records> AsyncRead for TlsIo<S, R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        if inner.turn == 0 {
            // Others on this thread, and the streams of this tunnel, get their turn first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
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
                if let Some(error) = inner.broken.take() {
                    return Poll::Ready(Err(error));
                }
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
            if inner.sent_total - inner.turn_began >= HIGH_WATER as u64 {
                // A socket that takes everything would keep everybody else on this thread waiting.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            // Partly sent is enough to go on, so the answer of a full socket is not an error here.
            if inner.poll_drain_or_listen(cx)?.is_pending()
                && inner.sealed.len() - inner.sent >= HIGH_WATER
            {
                return Poll::Pending;
            }
        }
        let mut n = 0;
        for piece in pieces {
            inner.put(piece)?;
            if let Some(heads) = &inner.heads {
                heads.pass(piece);
            }
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
        ready!(inner.poll_drain_or_listen(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}
