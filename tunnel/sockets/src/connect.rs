//! Connections made with sockets of a pod.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{self, SockaddrStorage};

/// How far a connection is that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is established.
    Established,
    /// The socket becomes writable when it is established or has failed.
    UnderWay,
}

/// Gives a socket its local address.
///
/// # Errors
/// The address is in use, or the kernel refuses for another reason.
pub fn bind(socket: impl AsFd, address: SocketAddr) -> io::Result<()> {
    let address = SockaddrStorage::from(address);
    Ok(socket::bind(socket.as_fd().as_raw_fd(), &address)?)
}

/// Begins to connect a non-blocking socket.
///
/// To a listener in the same namespace the whole handshake runs within the first call, which says
/// "in progress" all the same (connect(2)). Asking a second time spares the event loop a turn.
///
/// # Errors
/// The connection was refused, or the kernel refuses to make it.
pub fn connect(socket: impl AsFd, to: SocketAddr) -> io::Result<Begun> {
    let (socket, address) = (socket.as_fd().as_raw_fd(), SockaddrStorage::from(to));
    let begun = match socket::connect(socket, &address) {
        Err(Errno::EINPROGRESS) => socket::connect(socket, &address),
        other => other,
    };
    match begun {
        Ok(()) | Err(Errno::EISCONN) => Ok(Begun::Established),
        Err(Errno::EALREADY | Errno::EINPROGRESS | Errno::EINTR) => Ok(Begun::UnderWay),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::TcpListener;
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::options;
    use crate::request::Family;

    fn socket() -> OwnedFd {
        options::stream(Family::V4, options::SocketKind::Captured).unwrap()
    }

    #[test]
    fn a_neighbour_is_connected_at_once_and_nobody_refuses_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (fd, address) = (socket(), listener.local_addr().unwrap());
        bind(&fd, "127.0.0.2:0".parse().unwrap()).unwrap();
        assert_eq!(connect(&fd, address).unwrap(), Begun::Established);
        let (_, from) = listener.accept().unwrap();
        assert_eq!(from.ip().to_string(), "127.0.0.2");

        drop(listener);
        let refused = connect(socket(), address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
