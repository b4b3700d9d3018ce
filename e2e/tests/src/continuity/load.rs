//! A load under way in a pod's network namespace.

use super::report::Report;
use anyhow::{Context, Result, bail};
use e2e_netlab::{Binaries, Pod, find_program};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Longer than anything that the load itself waits for.
const PATIENCE: Duration = Duration::from_secs(40);

/// What kind of load.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// New connections a second.
    pub rate: u32,
    /// Long-lived connections, one of them silent until the end.
    pub keep: u32,
    /// It ends after so long at the latest.
    pub lasting: Duration,
}

impl Default for Shape {
    /// As the figures are demanded.
    fn default() -> Self {
        Self {
            rate: 200,
            keep: 20,
            lasting: Duration::from_secs(120),
        }
    }
}

/// A load; killed when dropped.
#[derive(Debug)]
pub struct Load {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Load {
    /// Starts it; its long-lived connections carry bytes when this returns.
    ///
    /// # Errors
    /// They do not.
    pub fn start(from: &Pod, to: SocketAddr, marker: &str, shape: Shape) -> Result<Self> {
        let mut command = Command::new(find_program("nsenter")?);
        command
            .arg(format!("--net={}", from.netns().display()))
            .arg("--")
            .arg(Binaries::from_env()?.podkit)
            .args(["load", "--to", &to.to_string(), "--marker", marker])
            .args(["--rate", &shape.rate.to_string()])
            .args(["--keep", &shape.keep.to_string()])
            .args(["--seconds", &shape.lasting.as_secs().to_string()]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the load")?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("no standard output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Nobody listens any more when the load was dropped.
                drop(sender.send(line));
            }
        });
        let load = Self {
            child,
            input,
            lines,
        };
        let said = load.line()?;
        if said["ready"] != true {
            bail!("the load to {to} does not begin: {said}");
        }
        Ok(load)
    }

    fn line(&self) -> Result<Value> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => serde_json::from_str(&line).with_context(|| line.clone()),
            Err(RecvTimeoutError::Timeout) => bail!("the load says nothing for {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the load has died"),
        }
    }

    /// Asks it to end; what it saw.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(mut self) -> Result<Report> {
        drop(self.input.take());
        let said = self.line()?;
        serde_json::from_value(said.clone()).with_context(|| format!("the load says {said}"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // One that has ended is no error.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
