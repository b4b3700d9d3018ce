//! A packet socket to the agent.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, socket,
};
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Longest datagram of the protocol, bytes.
const DATAGRAM: usize = 1024;

/// A connected `SOCK_SEQPACKET` socket: what is sent as one arrives as one.
#[derive(Debug)]
pub(crate) struct Packets(AsyncFd<OwnedFd>);

impl Packets {
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        Self::new(fd)
    }

    /// Takes a connected, non-blocking packet socket.
    #[expect(
        deprecated,
        reason = "its replacement is an unsafe function; an owned descriptor stays open as long as this"
    )]
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self(AsyncFd::new(fd)?))
    }

    pub(crate) async fn send(&self, message: &impl prost::Message) -> io::Result<()> {
        let bytes = message.encode_to_vec();
        let sent = self
            .0
            .async_io(Interest::WRITABLE, |fd| {
                Ok(send(fd.as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL)?)
            })
            .await?;
        if sent == bytes.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// The next datagram and the descriptors that came with it; `None` when the agent has closed.
    pub(crate) async fn receive(&self) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
        let mut buffer = vec![0; DATAGRAM];
        let (n, fds) = self
            .0
            .async_io(Interest::READABLE, |fd| {
                node_agent_namespace::recv_with_fds(fd, &mut buffer)
            })
            .await?;
        buffer.truncate(n);
        Ok((n > 0 || !fds.is_empty()).then_some((buffer, fds)))
    }
}
