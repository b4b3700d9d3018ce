//! The conversation with the node agent: one connection, one deadline.

mod error;

use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use self::error::{AgentError, out_of_turn};
use cni_plugin_handoff::{
    Decoder, Frame, FrameError, MessageError, Reply, Report, Request, SPOKEN, encode, read_reply,
};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use node_agent_namespace::{keep_open_in_children, peer_credentials, send_with_fds};

/// A connection to the agent, in the middle of a conversation.
pub(crate) struct Agent {
    stream: UnixStream,
    decoder: Decoder,
    socket: PathBuf,
    version: u16,
    began: Instant,
    until: Instant,
}

impl Agent {
    /// Opens the conversation with a request, in an older version if the agent asks for it.
    pub(crate) fn ask(
        socket: &Path,
        until: Instant,
        request: &Request,
        netns: Option<BorrowedFd<'_>>,
    ) -> Result<(Self, Reply), AgentError> {
        let mut version = SPOKEN.max;
        loop {
            let mut agent = Self::connect(socket, until, version)?;
            let bytes = encode(version, request)?;
            agent.send(&bytes, netns)?;
            match agent.reply("answer") {
                Err(AgentError::Versions(upgrade)) => match SPOKEN.common(upgrade) {
                    Some(common) if common < version => version = common,
                    _ => return Err(AgentError::Versions(upgrade)),
                },
                Ok(reply) => return Ok((agent, reply)),
                Err(error) => return Err(error),
            }
        }
    }

    /// From here on the agent sees the end of the conversation only when every tool we started is
    /// gone as well. Otherwise a tool that outlives a killed plugin could install its rules after
    /// the agent has cleared up.
    pub(crate) fn held_by_tools(&self) -> Result<(), AgentError> {
        keep_open_in_children(&self.stream).map_err(|why| AgentError::Connect {
            socket: self.socket.clone(),
            why,
        })
    }

    /// Reports, and waits for what the agent makes of it.
    pub(crate) fn report(&mut self, report: &Report) -> Result<Reply, AgentError> {
        self.tell(report)?;
        self.reply("admit the pod")
    }

    /// Reports without waiting.
    pub(crate) fn tell(&mut self, report: &Report) -> Result<(), AgentError> {
        let bytes = encode(self.version, report)?;
        self.send(&bytes, None)
    }

    fn connect(socket: &Path, until: Instant, version: u16) -> Result<Self, AgentError> {
        let began = Instant::now();
        let left = until.saturating_duration_since(began);
        let stream = open(socket, left).map_err(|errno| match errno {
            Errno::ENOENT | Errno::ENOTDIR => AgentError::Absent(socket.to_owned()),
            Errno::ECONNREFUSED => AgentError::NotListening(socket.to_owned()),
            // The queue of a listener that accepts nothing is full, and stayed so.
            Errno::EAGAIN => AgentError::Hung {
                awaited: "accept the connection",
                waited: began.elapsed(),
            },
            errno => AgentError::Connect {
                socket: socket.to_owned(),
                why: errno.into(),
            },
        })?;
        let agent = Self {
            stream: UnixStream::from(stream),
            decoder: Decoder::new(),
            socket: socket.to_owned(),
            version,
            began,
            until,
        };
        agent.trusted()?;
        Ok(agent)
    }

    /// Only root, or whoever runs the plugin, may say what becomes of a pod.
    fn trusted(&self) -> Result<(), AgentError> {
        let peer = peer_credentials(&self.stream).map_err(|why| AgentError::Connect {
            socket: self.socket.clone(),
            why,
        })?;
        if is_trusted(peer.uid, nix::unistd::geteuid().as_raw()) {
            return Ok(());
        }
        Err(AgentError::Untrusted {
            socket: self.socket.clone(),
            uid: peer.uid,
        })
    }

    fn send(&self, mut bytes: &[u8], netns: Option<BorrowedFd<'_>>) -> Result<(), AgentError> {
        const AWAITED: &str = "take the message";
        let mut descriptors = netns.as_slice();
        while !bytes.is_empty() {
            self.bound(AWAITED, UnixStream::set_write_timeout)?;
            let sent = send_with_fds(&self.stream, bytes, descriptors)
                .map_err(|error| self.failed(AWAITED, &error))?;
            bytes = &bytes[sent..];
            descriptors = &[];
        }
        Ok(())
    }

    fn reply(&mut self, awaited: &'static str) -> Result<Reply, AgentError> {
        let frame = self.frame(awaited)?;
        let reply = read_reply(&frame, SPOKEN).map_err(|error| match error {
            MessageError::Version { .. } => AgentError::Speech(error),
            MessageError::Malformed { .. } => self.rubbish(&error),
        })?;
        match reply {
            Reply::Failed(failure) => Err(AgentError::Refused(failure)),
            Reply::Upgrade(upgrade) => Err(AgentError::Versions(upgrade)),
            reply => Ok(reply),
        }
    }

    fn frame(&mut self, awaited: &'static str) -> Result<Frame, AgentError> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self
                .decoder
                .next_frame()
                .map_err(|why| self.rubbish(&why))?
            {
                return Ok(frame);
            }
            self.bound(awaited, UnixStream::set_read_timeout)?;
            let wanted = self.decoder.wanted().clamp(1, buffer.len());
            match self.stream.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(self.ended(awaited)),
                Ok(count) => {
                    self.decoder
                        .push(&buffer[..count])
                        .map_err(|why| self.rubbish(&why))?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(awaited, &error)),
            }
        }
    }

    /// Leaves the next system call no more than what is left of the deadline, so that an agent that
    /// sends a byte a second is as bounded as a silent one.
    fn bound(
        &self,
        awaited: &'static str,
        set: fn(&UnixStream, Option<Duration>) -> io::Result<()>,
    ) -> Result<(), AgentError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.hung(awaited));
        }
        // Below a microsecond the kernel would take it for "no limit".
        set(&self.stream, Some(left.max(Duration::from_millis(1))))
            .map_err(|error| self.failed(awaited, &error))
    }

    fn failed(&self, awaited: &'static str, error: &io::Error) -> AgentError {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => self.hung(awaited),
            _ => AgentError::Gone {
                awaited,
                why: error.to_string(),
            },
        }
    }

    fn hung(&self, awaited: &'static str) -> AgentError {
        AgentError::Hung {
            awaited,
            waited: self.began.elapsed(),
        }
    }

    fn ended(&self, awaited: &'static str) -> AgentError {
        let why = match self.decoder.finish() {
            Err(FrameError::Truncated { .. }) => "its answer breaks off half-way",
            _ => "it closed the connection",
        };
        AgentError::Gone {
            awaited,
            why: why.to_owned(),
        }
    }

    fn rubbish(&self, why: &dyn std::error::Error) -> AgentError {
        AgentError::Rubbish {
            socket: self.socket.clone(),
            why: why.to_string(),
        }
    }
}

/// Connects within the time. The standard library cannot bound this call, which waits for as long
/// as a hung agent's queue of connections is full.
fn open(path: &Path, left: Duration) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let micros = i64::try_from(left.as_micros())
        .unwrap_or(i64::MAX)
        .max(1_000);
    let limit = TimeVal::new(micros / 1_000_000, micros % 1_000_000);
    setsockopt(&stream, sockopt::SendTimeout, &limit)?;
    let address = UnixAddr::new(path)?;
    while let Err(errno) = connect(stream.as_raw_fd(), &address) {
        if errno != Errno::EINTR {
            return Err(errno);
        }
    }
    Ok(stream)
}

fn is_trusted(peer: u32, own: u32) -> bool {
    peer == 0 || peer == own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_and_the_own_user_are_trusted_and_nobody_else() {
        assert!(is_trusted(0, 0) && is_trusted(0, 1000) && is_trusted(1000, 1000));
        assert!(!is_trusted(1000, 0) && !is_trusted(1000, 1001) && !is_trusted(65_534, 0));
    }
}
