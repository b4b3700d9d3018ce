//! One connection that never blocks: connects, sends what is pushed, keeps what arrives.

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// Why a connection did not do what it should; a word that can be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) String);

impl Fault {
    fn of(error: &std::io::Error) -> Self {
        Self(match error.kind() {
            ErrorKind::ConnectionReset => "reset".to_owned(),
            ErrorKind::ConnectionRefused => "refused".to_owned(),
            ErrorKind::BrokenPipe => "broken pipe".to_owned(),
            ErrorKind::TimedOut => "timed out in the kernel".to_owned(),
            _ => error.to_string(),
        })
    }

    /// The other side said FIN where it owed bytes.
    pub(super) fn end() -> Self {
        Self("end of stream".to_owned())
    }

    /// Bytes came that nobody asked for, or others than were asked for.
    pub(super) fn bytes() -> Self {
        Self("wrong bytes".to_owned())
    }

    /// Nothing came in time.
    pub(super) fn late() -> Self {
        Self("time limit".to_owned())
    }
}

/// A connection with what is yet to be sent and what has come.
pub(super) struct Line {
    stream: TcpStream,
    connected: bool,
    unsent: Vec<u8>,
    received: Vec<u8>,
    ended: bool,
}

impl Line {
    /// Begins to connect.
    pub(super) fn open(to: SocketAddr) -> Result<Self, Fault> {
        Self::begin(to).map_err(|error| Fault::of(&error))
    }

    fn begin(to: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&to.into()) {
            Err(error) if error.raw_os_error() != Some(Errno::EINPROGRESS as i32) => {
                return Err(error);
            }
            _ => {}
        }
        Ok(Self {
            stream: socket.into(),
            connected: false,
            unsent: Vec::new(),
            received: Vec::new(),
            ended: false,
        })
    }

    /// Whether the handshake is over.
    pub(super) fn connected(&self) -> bool {
        self.connected
    }

    /// Whether the other side has said FIN.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// What has come since it was last taken.
    pub(super) fn received(&mut self) -> &mut Vec<u8> {
        &mut self.received
    }

    /// Bytes to be sent by the next turns.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        self.stream
            .shutdown(Shutdown::Write)
            .map_err(|error| Fault::of(&error))
    }

    /// Goes as far as the kernel lets it.
    pub(super) fn turn(&mut self) -> Result<(), Fault> {
        self.go().map_err(|error| Fault::of(&error))
    }

    fn go(&mut self) -> std::io::Result<()> {
        if !self.connected {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            if self.stream.peer_addr().is_err() {
                return Ok(());
            }
            self.connected = true;
        }
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(size) => drop(self.unsent.drain(..size)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let mut chunk = [0; 4096];
        while !self.ended {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(size) => self.received.extend_from_slice(&chunk[..size]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
