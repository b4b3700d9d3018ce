//! What passes on the wire between pods.

use crate::until;
use crate::world::World;
use anyhow::{Context, Result, ensure};
use e2e_netlab::{find_program, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::File;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running capture of everything on the wire; ended when dropped.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    file: PathBuf,
    netns: PathBuf,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The lower port of each TCP connection, which is the server's here.
    pub ports: BTreeSet<u16>,
    bytes: Vec<u8>,
}

impl Seen {
    /// How often a text was on the wire.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        let text = text.as_bytes();
        self.bytes
            .windows(text.len())
            .filter(|window| *window == text)
            .count()
    }
}

impl Capture {
    /// Starts it; packets sent after this returns are seen.
    ///
    /// # Errors
    /// `tcpdump` does not start.
    pub fn start(world: &World) -> Result<Self> {
        let file = world.directory().join("wire.pcap");
        let log = File::create(world.directory().join("wire.log"))?;
        let mut command = world.switch().command(find_program("tcpdump")?)?;
        command
            .args([
                "-i",
                "br0",
                "-n",
                "-s",
                "0",
                "-U",
                "-B",
                "16384",
                "--immediate-mode",
            ])
            .args(["-Z", "root", "-w"])
            .arg(&file);
        // The bridge hands over what passes from port to port only when it is promiscuous, which tcpdump makes it.
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let capture = Self {
            child,
            file,
            netns: world.switch().path().to_owned(),
        };
        until("tcpdump listens", || {
            ensure!(capture.words()?.contains("listening on"), "not yet");
            Ok(())
        })?;
        Ok(capture)
    }

    fn words(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.file.with_extension("log"))?)
    }

    /// Ends it. All that was sent before is in it: a sentinel sent now was waited for.
    ///
    /// # Errors
    /// Packets were lost, or the file cannot be read.
    pub fn stop(mut self) -> Result<Seen> {
        let sentinel = format!("end-of-capture-{}", self.child.id());
        e2e_netlab::inside(&self.netns, || -> Result<()> {
            let socket = UdpSocket::bind("10.77.0.1:0")?;
            socket.set_broadcast(true)?;
            socket.send_to(sentinel.as_bytes(), "10.77.0.255:9")?;
            Ok(())
        })??;
        until("the capture has caught up", || {
            let bytes = std::fs::read(&self.file)?;
            let found = bytes
                .windows(sentinel.len())
                .any(|one| one == sentinel.as_bytes());
            ensure!(found, "no sentinel in {} bytes", bytes.len());
            Ok(())
        })?;
        kill(
            Pid::from_raw(i32::try_from(self.child.id())?),
            Signal::SIGINT,
        )?;
        let child = &mut self.child;
        until("tcpdump ends", || child.try_wait()?.context("it runs"))?;
        let words = self.words()?;
        ensure!(
            words.contains("\n0 packets dropped by kernel"),
            "gaps: {words}"
        );
        let mut read = Command::new(find_program("tcpdump")?);
        let text = run(read.args(["-n", "-q", "-r"]).arg(&self.file).arg("tcp"))?;
        let ports = text.lines().filter_map(server_port).collect();
        let bytes = std::fs::read(&self.file)?;
        Ok(Seen { ports, bytes })
    }
}

/// Of `TIME IP A.B.C.D.PORT > E.F.G.H.PORT: ...`.
fn server_port(line: &str) -> Option<u16> {
    let mut words = line.split(' ').skip_while(|word| !word.starts_with("IP"));
    let port = |word: &str| {
        word.trim_end_matches(':')
            .rsplit('.')
            .next()?
            .parse::<u16>()
            .ok()
    };
    let from = port(words.nth(1)?)?;
    let to = port(words.nth(1)?)?;
    Some(from.min(to))
}

impl Drop for Capture {
    fn drop(&mut self) {
        // One that has ended is no error.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
