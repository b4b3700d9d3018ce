//! An application's connection, and how it ends if nobody ends it.
//!
//! ```text
//! armed ──(both directions ended)──► disarmed: closing sends what is left, then FIN
//!   └──(dropped, process killed)───► RST
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection with an application that ends with RST unless [`AppStream::end_well`] is called:
/// what is cut off, by whatever, must not look like what has ended. The kernel itself sees to it
/// (`SO_LINGER` of no time), so that it holds for a process that is killed.
#[derive(Debug)]
pub struct AppStream(TcpStream);

impl AppStream {
    /// A connection that was accepted from a pod's listener, or made with a pod's socket: these
    /// are born armed.
    #[must_use]
    pub const fn born_armed(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Any other connection.
    ///
    /// # Errors
    /// The socket is dead.
    pub fn arm(stream: TcpStream) -> io::Result<Self> {
        stream.set_zero_linger()?;
        Ok(Self(stream))
    }

    /// From now on closing it sends what is left, and FIN.
    pub fn end_well(&self) {
        // Fails only on a socket that is dead already.
        drop(disarm(&self.0));
    }

    /// The connection itself.
    #[must_use]
    pub const fn get(&self) -> &TcpStream {
        &self.0
    }
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
        self.0.as_fd()
    }
}

impl AsyncRead for AppStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, room)
    }
}

impl AsyncWrite for AppStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
