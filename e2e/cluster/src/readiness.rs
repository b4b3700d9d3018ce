//! How long pods take from their creation until they are ready, as a watcher of the API server sees it.

use crate::cluster::Cluster;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Watches the pods of a namespace.
#[derive(Debug)]
pub struct PodWatch {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl PodWatch {
    /// Begins; pods made from now on are seen from their first moment.
    ///
    /// # Errors
    /// kubectl does not start.
    pub fn start(cluster: &Cluster, namespace: &str) -> Result<Self> {
        let columns = "custom-columns=NAME:.metadata.name,ADDRESS:.status.podIP,\
                       READY:.status.conditions[?(@.type==\"Ready\")].status";
        let mut command = cluster.client("kubectl");
        command
            .args([
                "-n",
                namespace,
                "get",
                "pods",
                "--watch",
                "--no-headers",
                "-o",
                columns,
            ])
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("starting kubectl")?;
        let output = child.stdout.take().context("no standard output")?;
        let (send, lines) = channel();
        thread::Builder::new().spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send((Instant::now(), line)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { child, lines })
    }

    /// Waits until so many pods are ready; how long each took, the fastest first.
    ///
    /// # Errors
    /// They are not in time.
    pub fn ready(self, count: usize, patience: Duration) -> Result<Vec<Duration>> {
        let until = Instant::now() + patience;
        let mut seen: HashMap<String, Instant> = HashMap::new();
        let mut ready: HashMap<String, Duration> = HashMap::new();
        while ready.len() < count {
            let left = until.saturating_duration_since(Instant::now());
            let (when, line) = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    bail!("{} of {count} pods are ready", ready.len())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("kubectl has ended"),
            };
            let mut words = line.split_whitespace();
            let name = words.next().context("a line has a name")?.to_owned();
            let first = *seen.entry(name.clone()).or_insert(when);
            if words.nth(1) == Some("True") {
                ready.entry(name).or_insert(when - first);
            }
        }
        let mut took: Vec<Duration> = ready.into_values().collect();
        took.sort_unstable();
        ensure!(took.len() == count, "{} pods, not {count}", took.len());
        Ok(took)
    }
}

impl Drop for PodWatch {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
