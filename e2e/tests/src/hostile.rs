//! A peer of port 15008 that may do anything: TLS by rustls with any certificate, HTTP/2 by hand.

use crate::frames::{self, Frame, kind, take_frames};
use crate::world::Pod;
use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tunnel_credentials::{LeafSpec, TestAuthority, TestCertificate};

use crate::World;

/// How long the other side may take for what it should do at once.
const LIMIT: Duration = Duration::from_secs(15);

/// The mesh's own authority, signing whatever it is asked to.
#[must_use]
pub fn authority(world: &World) -> TestAuthority {
    TestAuthority::from_files(&world.ca_certificate(), &world.ca_key())
}

/// A proper certificate of the mesh's authority.
#[must_use]
pub fn certificate(world: &World, spiffe: &str) -> TestCertificate {
    authority(world).issue(&LeafSpec::named(spiffe))
}

/// A TLS connection to a tunnel's port.
#[derive(Debug)]
pub struct Peer {
    tls: ClientConnection,
    stream: TcpStream,
    inbox: Vec<u8>,
    /// Whether what comes is left in the socket.
    deaf: bool,
    ended: Option<String>,
    frames: Vec<Frame>,
}

impl Peer {
    /// Connects and completes TLS as far as this side can tell: in TLS 1.3 a client learns later that it was refused.
    ///
    /// # Errors
    /// No connection, or the handshake fails on this side.
    pub fn connect(from: &Pod, to: SocketAddr, config: ClientConfig) -> Result<Self> {
        let stream = crate::app::connect(from, to)?;
        stream.set_nonblocking(true)?;
        let name = ServerName::IpAddress(IpAddr::from(from.ipv4).into());
        let mut tls = ClientConnection::new(Arc::new(config), name)?;
        tls.set_buffer_limit(None);
        let mut peer = Self {
            tls,
            stream,
            inbox: Vec::new(),
            deaf: false,
            ended: None,
            frames: Vec::new(),
        };
        let began = Instant::now();
        while peer.tls.is_handshaking() {
            peer.turn(Duration::from_millis(100))?;
            ensure!(
                peer.ended.is_none(),
                "ended in the handshake: {:?}",
                peer.ended
            );
            ensure!(began.elapsed() < LIMIT, "the handshake takes too long");
        }
        Ok(peer)
    }

    /// The same, then the preface and our settings.
    ///
    /// # Errors
    /// As [`Peer::connect`], or the other side does not greet.
    pub fn greeted(from: &Pod, to: SocketAddr, config: ClientConfig) -> Result<Self> {
        let mut peer = Self::connect(from, to, config)?;
        let mut hello = frames::PREFACE.to_vec();
        hello.extend(frames::settings());
        hello.extend(frames::window_update(0, 0x3fff_0000));
        peer.send(&hello)?;
        peer.wait_for("its settings", |frame| frame.kind == kind::SETTINGS)?;
        peer.send(&frames::frame(kind::SETTINGS, 1, 0, &[]))?;
        Ok(peer)
    }

    /// Stops reading.
    pub fn stop_reading(&mut self) {
        self.deaf = true;
    }

    /// Reads again.
    pub fn read_again(&mut self) {
        self.deaf = false;
    }

    /// Why the other side ended the connection, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Sends all of it and reads meanwhile, unless deaf.
    ///
    /// # Errors
    /// The connection has ended, or the other side takes nothing for too long.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let left = self.try_send(bytes, LIMIT)?;
        ensure!(left, "the other side does not read");
        Ok(())
    }

    /// Sends as much of it as the other side takes within the time; whether that was all.
    ///
    /// # Errors
    /// The connection has ended.
    pub fn try_send(&mut self, bytes: &[u8], within: Duration) -> Result<bool> {
        self.tls.writer().write_all(bytes)?;
        let began = Instant::now();
        loop {
            if let Some(why) = &self.ended {
                bail!("the other side ended the connection: {why}");
            }
            if !self.tls.wants_write() {
                return Ok(true);
            }
            if began.elapsed() > within {
                return Ok(false);
            }
            self.turn(Duration::from_millis(20))?;
        }
    }

    /// Waits for the end of the connection by the other side; how it ended.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn wait_for_end(&mut self, within: Duration) -> Result<String> {
        let began = Instant::now();
        while self.ended.is_none() {
            ensure!(
                began.elapsed() < within,
                "the other side keeps it open for {within:?}"
            );
            self.turn(Duration::from_millis(50))?;
        }
        Ok(self.ended.clone().unwrap_or_default())
    }

    /// Waits for a frame, and takes it and all before it.
    ///
    /// # Errors
    /// The connection ends, or the frame does not come.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) -> Result<Frame> {
        let began = Instant::now();
        loop {
            self.collect();
            if let Some(at) = self.frames.iter().position(&wanted) {
                return self.frames.drain(..=at).next_back().context("none");
            }
            if let Some(why) = &self.ended {
                bail!("ended ({why}) without {what}; frames: {:?}", self.frames);
            }
            ensure!(
                began.elapsed() < LIMIT,
                "no {what}; frames: {:?}",
                self.frames
            );
            self.turn(Duration::from_millis(50))?;
        }
    }

    /// Opens a stream and waits for the answer's status.
    ///
    /// # Errors
    /// None comes.
    pub fn open(&mut self, stream: u32, authority: &str) -> Result<u16> {
        self.send(&frames::connect(stream, authority))?;
        self.status(stream)
    }

    /// Waits for the answer's status on a stream.
    ///
    /// # Errors
    /// None comes.
    pub fn status(&mut self, stream: u32) -> Result<u16> {
        let headers = |frame: &Frame| frame.kind == kind::HEADERS && frame.stream == stream;
        let answer = self.wait_for("an answer", headers)?;
        answer
            .status()
            .with_context(|| format!("a status in {answer:?}"))
    }

    /// The error codes of GOAWAY and `RST_STREAM` that came and were not taken yet.
    #[must_use]
    pub fn complaints(&mut self) -> Vec<(u8, u32)> {
        self.collect();
        let complaints = |frame: &Frame| Some((frame.kind, frame.error_code()?));
        self.frames
            .iter()
            .filter(|frame| matches!(frame.kind, kind::GOAWAY | kind::RST_STREAM))
            .filter_map(complaints)
            .collect()
    }

    /// The payload of DATA on a stream that came and was not taken yet; takes all frames.
    #[must_use]
    pub fn take_data(&mut self, stream: u32) -> Vec<u8> {
        self.collect();
        let (ours, others): (Vec<Frame>, _) = std::mem::take(&mut self.frames)
            .into_iter()
            .partition(|frame| frame.kind == kind::DATA && frame.stream == stream);
        self.frames = others;
        ours.into_iter().flat_map(|frame| frame.payload).collect()
    }

    fn collect(&mut self) {
        let found = take_frames(&mut self.inbox);
        // Floods of acknowledgements are of no interest, but would fill our memory.
        self.frames.extend(found.into_iter().filter(|frame| {
            frame.kind != kind::PING && !(frame.kind == kind::SETTINGS && frame.flags == 1)
        }));
    }

    /// One turn: waits until something can be done, and does it.
    ///
    /// # Errors
    /// The kernel or TLS fails in a way that is not the other side's.
    pub fn turn(&mut self, patience: Duration) -> Result<()> {
        let mut wanted = PollFlags::empty();
        if !self.deaf {
            wanted |= PollFlags::POLLIN;
        }
        if self.tls.wants_write() {
            wanted |= PollFlags::POLLOUT;
        }
        let mut fds = [PollFd::new(self.stream.as_fd(), wanted)];
        poll(&mut fds, PollTimeout::try_from(patience)?)?;
        let ready = fds[0].revents().unwrap_or(PollFlags::empty());
        if ready.intersects(PollFlags::POLLOUT) {
            self.write();
        }
        if ready.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.read();
        }
        if self.inbox.len() > 1 << 16 {
            self.collect();
        }
        Ok(())
    }

    fn write(&mut self) {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    // What the other side said before is worth more than the broken pipe.
                    self.read();
                    self.ended.get_or_insert(error.to_string());
                    return;
                }
            }
        }
    }

    fn read(&mut self) {
        loop {
            match self.tls.read_tls(&mut self.stream) {
                Ok(0) => {
                    self.ended.get_or_insert("closed".to_owned());
                    break;
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.ended.get_or_insert(error.to_string());
                    break;
                }
            }
            if let Err(error) = self.tls.process_new_packets() {
                self.ended.get_or_insert(error.to_string());
                break;
            }
            // Fails with WouldBlock when nothing is there, and at the end.
            drop(self.tls.reader().read_to_end(&mut self.inbox));
        }
    }
}
