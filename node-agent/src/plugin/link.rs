//! One connection from the plugin: frames in, frames out, and noticing that it went away.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use cni_plugin_handoff::{
    Decoder, EncodeError, Frame, FrameError, MessageError, Reply, Report, Request, SPOKEN, encode,
    read_report, read_request,
};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

/// The conversation cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The plugin closed the connection: it was killed or gave up.
    #[error("the plugin went away before it was answered")]
    Gone,
    /// It said something out of turn.
    #[error("the plugin sent something that was not asked of it")]
    OutOfTurn,
    /// It was silent for too long.
    #[error("the plugin said nothing for {0:?}")]
    Silent(Duration),
    /// It sent more descriptors than the one namespace.
    #[error("the plugin sent {0} descriptors; one is expected at most")]
    Descriptors(usize),
    /// Its bytes are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Its frame is no message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The answer cannot be sent: the agent's own fault.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The kernel refused.
    #[error("the plugin's connection failed: {0}")]
    Io(#[from] io::Error),
}

/// A connection from the plugin.
#[derive(Debug)]
pub(crate) struct Link {
    stream: UnixStream,
    decoder: Decoder,
    descriptors: Vec<OwnedFd>,
    version: u16,
}

impl Link {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            decoder: Decoder::new(),
            descriptors: Vec::new(),
            version: SPOKEN.max,
        }
    }

    /// The request that opens the conversation, and the namespace that rides with it.
    pub(crate) async fn request(&mut self) -> Result<(Request, Option<OwnedFd>), LinkError> {
        let frame = tokio::time::timeout(FIRST_FRAME, self.frame())
            .await
            .map_err(|_| LinkError::Silent(FIRST_FRAME))??;
        if SPOKEN.contains(frame.version) {
            self.version = frame.version;
        }
        let request = read_request(&frame, SPOKEN)?;
        if self.descriptors.len() > 1 {
            return Err(LinkError::Descriptors(self.descriptors.len()));
        }
        Ok((request, self.descriptors.pop()))
    }

    /// What the plugin says after it was told to install; the caller bounds the wait.
    pub(crate) async fn report(&mut self) -> Result<Report, LinkError> {
        let frame = self.frame().await?;
        if !self.descriptors.is_empty() {
            return Err(LinkError::Descriptors(self.descriptors.len()));
        }
        Ok(read_report(&frame, SPOKEN)?)
    }

    /// Says something to the plugin.
    pub(crate) async fn say(&mut self, reply: &Reply) -> Result<(), LinkError> {
        let bytes = encode(self.version, reply)?;
        tokio::time::timeout(WRITE, self.stream.write_all(&bytes))
            .await
            .map_err(|_| LinkError::Silent(WRITE))?
            .map_err(gone)
    }

    /// Resolves when the plugin goes away, or speaks out of turn. Cancel-safe.
    pub(crate) async fn ended(&self) -> LinkError {
        loop {
            if let Err(error) = self.stream.readable().await {
                return error.into();
            }
            match self.stream.try_read(&mut [0]) {
                Ok(0) => return LinkError::Gone,
                Ok(_) => return LinkError::OutOfTurn,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return gone(error),
            }
        }
    }

    async fn frame(&mut self) -> Result<Frame, LinkError> {
        let mut buffer = vec![0; 4096];
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(frame);
            }
            let wanted = self.decoder.wanted().clamp(1, buffer.len());
            let (count, descriptors) = self.receive(&mut buffer[..wanted]).await?;
            self.descriptors.extend(descriptors);
            if count == 0 {
                self.decoder.finish()?;
                return Err(LinkError::Gone);
            }
            self.decoder.push(&buffer[..count])?;
        }
    }

    async fn receive(&self, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), LinkError> {
        let stream = &self.stream;
        stream
            .async_io(Interest::READABLE, || {
                node_agent_namespace::recv_with_fds(stream.as_fd(), buffer)
            })
            .await
            .map_err(gone)
    }
}

/// A reset is the plugin going away like any other.
fn gone(error: io::Error) -> LinkError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => LinkError::Gone,
        _ => LinkError::Io(error),
    }
}

const FIRST_FRAME: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(5);
