//! Questions to and orders for the kernel, over a netlink socket of the calling thread's namespace.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The kernel answers at once, or after whoever holds its lock; longer than this is a fault.
const PATIENCE: Duration = Duration::from_secs(5);
/// A list that changed while it was read is read again, this often at most.
const ATTEMPTS: usize = 5;
const HEADER: usize = 16;
const DONE: u16 = 3;
const ERROR: u16 = 2;

/// One message of an answer.
pub(crate) struct Answer {
    /// Message type.
    pub(crate) kind: u16,
    /// Everything, with the header.
    pub(crate) message: Vec<u8>,
}

/// A netlink socket.
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// For addresses, routes and rules.
    pub(crate) fn route() -> io::Result<Self> {
        Self::open(protocols::NETLINK_ROUTE)
    }

    /// For packet filters.
    pub(crate) fn netfilter() -> io::Result<Self> {
        Self::open(protocols::NETLINK_NETFILTER)
    }

    /// For sockets.
    pub(crate) fn sockets() -> io::Result<Self> {
        Self::open(protocols::NETLINK_SOCK_DIAG)
    }

    fn open(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Has something done.
    pub(crate) fn order(&mut self, what: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        let message = self.serialise(what, NLM_F_REQUEST | NLM_F_ACK | flags);
        self.exchange(&message).map(drop)
    }

    /// Lists something.
    pub(crate) fn list(
        &mut self,
        what: RouteNetlinkMessage,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let message = self.serialise(what, NLM_F_REQUEST | NLM_F_DUMP);
        let answers = self.exchange(&message)?;
        // What cannot be decoded was put there by somebody who uses what we do not know.
        let decoded = answers.iter().filter_map(|answer| {
            NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer.message).ok()
        });
        Ok(decoded
            .filter_map(|message| match message.payload {
                NetlinkPayload::InnerMessage(inner) => Some(inner),
                _ => None,
            })
            .collect())
    }

    /// Lists something of a subsystem that has no types here.
    pub(crate) fn list_raw(&mut self, kind: u16, payload: &[u8]) -> io::Result<Vec<Answer>> {
        self.ask_raw(kind, NLM_F_REQUEST | NLM_F_DUMP, payload)
    }

    /// Has something done by a subsystem that has no types here.
    pub(crate) fn order_raw(&mut self, kind: u16, payload: &[u8]) -> io::Result<()> {
        self.ask_raw(kind, NLM_F_REQUEST | NLM_F_ACK, payload)
            .map(drop)
    }

    fn ask_raw(&mut self, kind: u16, flags: u16, payload: &[u8]) -> io::Result<Vec<Answer>> {
        self.sequence += 1;
        let length = u32::try_from(HEADER + payload.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(HEADER + payload.len());
        message.extend_from_slice(&length.to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&0u32.to_ne_bytes());
        message.extend_from_slice(payload);
        self.exchange(&message)
    }

    fn serialise(&mut self, what: RouteNetlinkMessage, flags: u16) -> Vec<u8> {
        self.sequence += 1;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(what));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    /// Sends a request and collects the answer. An answer that the kernel marks as torn, because
    /// what it lists changed meanwhile, may lack entries and is asked for again.
    fn exchange(&mut self, request: &[u8]) -> io::Result<Vec<Answer>> {
        for _ in 0..ATTEMPTS {
            self.socket.send(request, 0)?;
            let (answers, torn) = self.collect()?;
            if !torn {
                return Ok(answers);
            }
        }
        Err(io::Error::from(io::ErrorKind::Interrupted))
    }

    /// Reads an answer up to its end; says whether it is torn.
    fn collect(&mut self) -> io::Result<(Vec<Answer>, bool)> {
        let (mut answers, mut torn) = (Vec::new(), false);
        loop {
            self.wait()?;
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while let Some((kind, sequence, message)) = next(&mut rest) {
                // An answer to an earlier request that was given up.
                if sequence != self.sequence {
                    continue;
                }
                torn |= flags(message) & NLM_F_DUMP_INTR != 0;
                match kind {
                    // The end of a list carries a verdict too, where there is room for one.
                    DONE if message.len() < HEADER + 4 => return Ok((answers, torn)),
                    DONE | ERROR => return verdict(message).map(|()| (answers, torn)),
                    kind => answers.push(Answer {
                        kind,
                        message: message.to_vec(),
                    }),
                }
            }
        }
    }

    fn wait(&self) -> io::Result<()> {
        let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        loop {
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::TimedOut)),
                Ok(_) => return Ok(()),
                Err(nix::Error::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Cuts the next message off a datagram: type, sequence number, all of it.
fn next<'a>(rest: &mut &'a [u8]) -> Option<(u16, u32, &'a [u8])> {
    let length = usize::try_from(number(rest, 0)?).ok()?;
    if length < HEADER || length > rest.len() {
        return None;
    }
    let (message, _) = rest.split_at(length);
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    Some((kind, number(message, 8)?, message))
}

fn flags(message: &[u8]) -> u16 {
    let bytes = message.get(6..8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u16::from_ne_bytes)
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// An error message with code 0 is the acknowledgement.
fn verdict(message: &[u8]) -> io::Result<()> {
    match number(message, HEADER).map(u32::cast_signed) {
        // A list may end with the number of its entries.
        Some(0..) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        None => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}
