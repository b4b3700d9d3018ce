//! Everything that passes on the wire between a node and the others, in a file, without gaps.

use crate::command::find_program;
use crate::netns::{Netns, inside};
use crate::node::Node;
use crate::pcap::{Traffic, parse};
use crate::process::{Daemon, tail};
use crate::topology::port;
use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
/// Discard: nobody listens there.
const SENTINEL_PORT: u16 = 9;

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    daemon: Daemon,
    file: PathBuf,
    netns: PathBuf,
    outside: Ipv4Addr,
}

/// Where a capture is taken.
#[derive(Debug)]
pub struct Wire {
    /// tcpdump without arguments, in the network namespace of the interface.
    pub tcpdump: Command,
    /// The interface.
    pub interface: String,
    /// A network namespace from which packets pass the interface.
    pub sender: PathBuf,
    /// An address there that nobody has, such as a broadcast address: what is sent to it needs no answer, only a way out.
    pub outside: Ipv4Addr,
}

impl Capture {
    /// Starts one on a node's link of a lab.
    pub(crate) fn start(switch: &Netns, node: &Node, file: &Path) -> Result<Self> {
        let (own, _) = node.addresses();
        let [a, b, c, _] = own.octets();
        let wire = Wire {
            tcpdump: switch.command(find_program("tcpdump")?),
            interface: port(node.name()),
            sender: node.netns().path().to_owned(),
            outside: Ipv4Addr::new(a, b, c, 255),
        };
        Self::on(wire, file)
    }

    /// Starts it; packets sent after this returns are seen.
    ///
    /// # Errors
    /// tcpdump does not start.
    pub fn on(mut wire: Wire, file: &Path) -> Result<Self> {
        wire.tcpdump
            .args(["-i", &wire.interface])
            .args(["-n", "-s", "0", "-U", "-B", "65536"])
            .args(["--immediate-mode", "-Z", "root", "-w"])
            .arg(file);
        // An earlier capture into the same file has said "listening" too.
        let log = file.with_extension("log");
        if log.exists() {
            std::fs::remove_file(&log)?;
        }
        let daemon = Daemon::start("tcpdump", &mut wire.tcpdump, &log)?;
        daemon.wait_for_log("listening on", PATIENCE)?;
        Ok(Self {
            daemon,
            file: file.to_owned(),
            netns: wire.sender,
            outside: wire.outside,
        })
    }

    /// The file in pcap format.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Ends the capture and reads it. All that was sent before this call is in it: a sentinel sent now was waited for.
    ///
    /// # Errors
    /// The kernel dropped packets, so that nothing can be said about their content; or the file cannot be read.
    pub fn stop(self) -> Result<Traffic> {
        let sentinel = format!("end of capture {:?}", self.daemon.id());
        let to = SocketAddr::from((self.outside, SENTINEL_PORT));
        inside(&self.netns, || -> Result<()> {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_broadcast(true)?;
            socket.send_to(sentinel.as_bytes(), to)?;
            Ok(())
        })?
        .context("sending the sentinel")?;
        wait::until("the capture has caught up", PATIENCE, || {
            self.daemon.check()?;
            let bytes = std::fs::read(&self.file)?;
            let found = bytes
                .windows(sentinel.len())
                .any(|window| window == sentinel.as_bytes());
            ensure!(
                found,
                "the sentinel is not in {} bytes of capture",
                bytes.len()
            );
            Ok(())
        })?;
        self.daemon.end(Signal::SIGINT, PATIENCE)?;
        let words = tail(self.daemon.log());
        if !words
            .lines()
            .any(|line| line.trim() == "0 packets dropped by kernel")
        {
            bail!("the capture has gaps:\n{words}");
        }
        parse(&std::fs::read(&self.file)?)
    }
}
