//! A load from a pod: new connections at a rate beside long-lived ones, and what became of all of them.

use crate::cluster::Cluster;
use crate::container::Container;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// One under way. Dropped, it is ended.
#[derive(Debug)]
pub struct Load {
    child: Child,
    output: BufReader<ChildStdout>,
}

/// What became of it.
#[derive(Debug)]
pub struct Outcome {
    /// New connections made.
    pub made: u64,
    /// Of these, how many failed.
    pub failed: u64,
    /// Long-lived connections made.
    pub kept: u64,
    /// Of these, how many were cut or hung.
    pub lost: usize,
    /// Half of the new connections were answered within this time, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// All that the pod's program said.
    pub report: Value,
}

impl Load {
    /// Starts `podkit load` with these options in a pod; its long-lived connections are there when this returns.
    ///
    /// # Errors
    /// It does not start, or a long-lived connection cannot be made.
    pub fn start(cluster: &Cluster, namespace: &str, pod: &str, options: &[&str]) -> Result<Self> {
        let mut command = cluster.client("kubectl");
        command
            .args(["-n", namespace, "exec", "-i", pod, "--", "/podkit", "load"])
            .args(options);
        Self::begin(&mut command)
    }

    /// The same by the runtime of the pod's node: it goes on while the API server or the kubelet is away.
    ///
    /// # Errors
    /// As [`Load::start`].
    pub fn start_in(container: &Container<'_>, options: &[&str]) -> Result<Self> {
        let words = [&["/podkit", "load"], options].concat();
        Self::begin(&mut container.command(&words))
    }

    fn begin(command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        let output = child.stdout.take().context("no standard output")?;
        let mut load = Self {
            child,
            output: BufReader::new(output),
        };
        let mut line = String::new();
        load.output.read_line(&mut line)?;
        let begun: Value = serde_json::from_str(&line).with_context(|| format!("{line:?}"))?;
        ensure!(begun["ready"] == true, "the load did not begin: {line}");
        Ok(load)
    }

    /// Begins no more, waits for the end of those begun, and ends the long-lived ones in order.
    ///
    /// # Errors
    /// It has ended before, or its report cannot be read.
    pub fn stop(mut self) -> Result<Outcome> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        self.child.wait()?;
        let Some(line) = text.lines().last() else {
            bail!("the load said nothing at its end");
        };
        let report: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let number = |value: &Value| value.as_u64().with_context(|| line.to_owned());
        let count = |value: &Value| value.as_array().map_or(0, Vec::len);
        let steady = &report["steady"];
        Ok(Outcome {
            made: number(&report["made"])?,
            failed: number(&report["failed"])?,
            kept: number(&steady["made"])?,
            lost: count(&steady["broken"]) + count(&steady["hanging"]),
            p50_ms: report["p50_ms"].as_f64().unwrap_or(f64::NAN),
            p99_ms: report["p99_ms"].as_f64().unwrap_or(f64::NAN),
            report,
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // The pod's program ends with its standard input.
        drop(self.child.stdin.take());
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
