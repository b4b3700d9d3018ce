//! An application's connection, and how it ends if nobody ends it.
//!
//! ```text
//! armed ──(both directions ended)──► disarmed: closing sends what is left, then FIN
//!   └──(dropped, process killed)───► RST
//! ```

use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A connection with an application that ends with RST unless [`AppStream::end_well`] is called:
/// what is cut off, by whatever, must not look like what has ended. The kernel itself sees to it
/// (`SO_LINGER` of no time), so that it holds for a process that is killed.
///
/// The event loop learns what a new socket is ready for in its next turn. What is likely to work
/// already, to write to one that was just made, is tried once without asking it; that one which was
/// accepted may be read is what the runtime assumes by itself.
#[derive(Debug)]
pub struct AppStream {
    stream: TcpStream,
    write_at_once: Cell<bool>,
}

impl AppStream {
    /// A connection that was accepted from a pod's listener: these are born armed.
    #[must_use]
    pub const fn accepted(stream: TcpStream) -> Self {
        Self {
            stream,
            write_at_once: Cell::new(false),
        }
    }

    /// A connection that was made with a pod's socket: these are born armed.
    #[must_use]
    pub const fn made(stream: TcpStream) -> Self {
        Self {
            stream,
            write_at_once: Cell::new(true),
        }
    }

    /// Any other connection.
    ///
    /// # Errors
    /// The socket is dead.
    pub fn arm(stream: TcpStream) -> io::Result<Self> {
        stream.set_zero_linger()?;
        Ok(Self {
            stream,
            write_at_once: Cell::new(false),
        })
    }

    /// From now on closing it sends what is left, and FIN.
    pub fn end_well(&self) {
        // Fails only on a socket that is dead already.
        drop(disarm(&self.stream));
    }

    /// Whether there may be something to read: cheap, and asks nobody.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx)
    }

    /// Reads what there is, as far as there is room.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is nothing now, and what the kernel says.
    pub(crate) fn try_take(&self, room: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let offered: usize = room.iter().map(|part| part.len()).sum();
        let n = self.stream.try_read_vectored(room)?;
        if 0 < n && n < offered {
            // That was all: the event loop tells of more, and nobody needs to ask the kernel again.
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            self.stream.try_io(Interest::READABLE, nothing).ok();
        }
        Ok(n)
    }

    /// Gives the application some of `pieces`.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when it takes nothing now, and what the kernel says.
    pub(crate) fn try_give(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.write_at_once.take() {
            let outcome = (&*SockRef::from(&self.stream)).write_vectored(pieces);
            if decided(&outcome) {
                return outcome;
            }
        }
        self.stream.try_write_vectored(pieces)
    }

    /// The same, and `cx` is woken when it takes more.
    pub(crate) fn poll_give(
        &self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.try_give(pieces) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_write_ready(cx))?;
                }
                outcome => return Poll::Ready(outcome),
            }
        }
    }

    /// Tells the application that no more will come.
    ///
    /// # Errors
    /// What the kernel says; a connection that is gone already is none.
    pub(crate) fn finish(&self) -> io::Result<()> {
        match SockRef::from(&self.stream).shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            outcome => outcome,
        }
    }

    /// The connection itself.
    #[must_use]
    pub const fn get(&self) -> &TcpStream {
        &self.stream
    }
}

/// Whether the kernel has decided; if not, the event loop is to be asked.
fn decided<T>(outcome: &io::Result<T>) -> bool {
    !matches!(outcome, Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted))
}

/// Closing the connection sends what is left, and FIN: for sockets of a pod that lead to no
/// application.
///
/// # Errors
/// The socket is dead.
pub fn disarm(stream: &TcpStream) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "a time to linger blocks the thread; there is none here"
    )]
    stream.set_linger(None)
}

impl AsFd for AppStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsyncRead for AppStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, room)
    }
}

impl AsyncWrite for AppStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.write_at_once.take() {
            let outcome = (&*SockRef::from(&self.stream)).write(data);
            if decided(&outcome) {
                return Poll::Ready(outcome);
            }
        }
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
