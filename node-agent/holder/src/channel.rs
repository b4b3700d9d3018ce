//! A conversation over a Unix socket that keeps packets apart, with descriptors.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use node_agent_handover::{MAX_MESSAGE, WireError, decode, encode};
use node_agent_namespace::{recv_with_fds_there_are, send_with_fds};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest packet, bytes: a Unix socket takes several at once with the kernel's default buffers.
const MAX_PACKET: usize = 64 << 10;
/// The packet of a message that is larger: it is in a file in memory, which rides along first.
const IN_A_FILE: &[u8] = b"@";
/// Packets that may wait for the other side; beyond it is not listening any more.
const MAX_WAITING: usize = 4096;

/// Why a conversation is over.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The other side is gone.
    #[error("the other side is gone")]
    Gone,
    /// It takes nothing any more.
    #[error("the other side has not taken {MAX_WAITING} messages: it hangs")]
    Stuck,
    /// What it sent is no message.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The kernel refuses.
    #[error("{0}; raise the limit of open files if it speaks of descriptors")]
    Kernel(#[source] io::Error),
}

/// A message that came, and what rode with it.
#[derive(Debug)]
pub struct Received<T> {
    /// The message.
    pub message: T,
    /// The descriptors.
    pub fds: Vec<OwnedFd>,
}

struct Packet {
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
}

/// One end of a conversation; never blocks.
pub struct Channel {
    socket: OwnedFd,
    version: u16,
    waiting: VecDeque<Packet>,
    buffer: Vec<u8>,
    /// The other side has not gone, as far as is known.
    open: bool,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("socket", &self.socket)
            .field("waiting", &self.waiting.len())
            .finish_non_exhaustive()
    }
}

impl Channel {
    /// A conversation over a connected, non-blocking packet socket.
    #[must_use]
    pub fn new(socket: OwnedFd, version: u16) -> Self {
        // Larger buffers only make sending smoother.
        if let Err(error) = setsockopt(&socket, sockopt::SndBuf, &(4 * MAX_PACKET)) {
            tracing::debug!(%error, "the link keeps its default buffer");
        }
        Self {
            socket,
            version,
            waiting: VecDeque::new(),
            buffer: Vec::new(),
            open: true,
        }
    }

    /// Both ends of a new conversation; the second is for a child.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn pair(version: u16) -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        )?;
        Ok((Self::new(ours, version), theirs))
    }

    /// The version that is spoken.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Speaks another version from now on.
    pub fn set_version(&mut self, version: u16) {
        self.version = version;
    }

    /// Sends a message; what the kernel does not take now is sent by [`Channel::flush`].
    ///
    /// # Errors
    /// The conversation is over.
    pub fn send<T: Serialize>(
        &mut self,
        message: &T,
        fds: Vec<OwnedFd>,
    ) -> Result<(), ChannelError> {
        let bytes = encode(self.version, message)?;
        if self.waiting.len() >= MAX_WAITING {
            return Err(ChannelError::Stuck);
        }
        let packet = if bytes.len() <= MAX_PACKET {
            Packet { bytes, fds }
        } else {
            in_a_file(&bytes, fds).map_err(ChannelError::Kernel)?
        };
        self.waiting.push_back(packet);
        self.flush()
    }

    /// Sends what waits, as far as the kernel takes it.
    ///
    /// # Errors
    /// The conversation is over.
    pub fn flush(&mut self) -> Result<(), ChannelError> {
        while let Some(packet) = self.waiting.front() {
            let fds: Vec<BorrowedFd<'_>> = packet.fds.iter().map(AsFd::as_fd).collect();
            match send_with_fds(&self.socket, &packet.bytes, &fds) {
                Ok(_) => drop(self.waiting.pop_front()),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(()),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                        return Err(self.gone());
                    }
                    _ => return Err(ChannelError::Kernel(error)),
                },
            }
        }
        Ok(())
    }

    /// Whether there is still something to wait for: the other side was not seen to be gone.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    fn gone(&mut self) -> ChannelError {
        self.open = false;
        ChannelError::Gone
    }

    /// Whether something waits to be sent.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next message that is there; `None` when none is yet.
    ///
    /// # Errors
    /// The conversation is over.
    pub fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<Received<T>>, ChannelError> {
        // One byte more than a packet may have, so that a larger one does not look whole.
        self.buffer.resize(MAX_PACKET + 1, 0);
        let received = recv_with_fds_there_are(&self.socket, &mut self.buffer);
        let (count, fds) = match received {
            Ok((0, _)) => return Err(self.gone()),
            Ok(received) => received,
            Err(error) => {
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(None),
                    io::ErrorKind::ConnectionReset => Err(self.gone()),
                    _ => Err(ChannelError::Kernel(error)),
                };
            }
        };
        let packet = &self.buffer[..count];
        let (message, fds) = if packet == IN_A_FILE {
            out_of_a_file(fds)?
        } else {
            (decode(packet)?.1, fds)
        };
        Ok(Some(Received { message, fds }))
    }
}

fn in_a_file(bytes: &[u8], fds: Vec<OwnedFd>) -> io::Result<Packet> {
    let mut file = File::from(memfd_create("message", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    let fds = [file.into()].into_iter().chain(fds).collect();
    Ok(Packet {
        bytes: IN_A_FILE.to_vec(),
        fds,
    })
}

fn out_of_a_file<T: DeserializeOwned>(
    fds: Vec<OwnedFd>,
) -> Result<(T, Vec<OwnedFd>), ChannelError> {
    let mut fds = fds.into_iter();
    let lacking = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "a message came without its file",
        )
    };
    let file = fds.next().ok_or_else(lacking);
    let mut bytes = Vec::new();
    file.and_then(|file| {
        let mut file = File::from(file);
        // Nothing but a file in memory: reading anything else could wait for ever.
        fcntl(&file, FcntlArg::F_GET_SEALS)?;
        file.rewind()?;
        file.take(MAX_MESSAGE as u64).read_to_end(&mut bytes)
    })
    .map_err(ChannelError::Kernel)?;
    Ok((decode(&bytes)?.1, fds.collect()))
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
