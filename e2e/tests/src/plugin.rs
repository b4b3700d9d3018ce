//! The shipped plugin, executed as a runtime does.

use crate::world::Pod;
use crate::{programs, until};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

/// What a call of the plugin is made with.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    verb: &'a str,
    pod: &'a Pod,
    socket: PathBuf,
    deadline: Duration,
}

/// What the plugin answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its exit code; none after a signal.
    pub code: Option<i32>,
    /// Its standard output as data, if it said anything.
    pub output: Value,
    /// Its standard error.
    pub errors: String,
}

/// A call under way; killed when dropped.
#[derive(Debug)]
pub struct Running(Child);

impl<'a> Call<'a> {
    /// A call for a pod, to the agent behind a socket.
    #[must_use]
    pub fn new(verb: &'a str, pod: &'a Pod, socket: &Path) -> Self {
        Self {
            verb,
            pod,
            socket: socket.to_owned(),
            deadline: Duration::from_secs(10),
        }
    }

    /// With another deadline for all of it.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// What the runtime got from the plugin before ours in the chain.
    #[must_use]
    pub fn previous_result(&self) -> Value {
        let pod = self.pod;
        json!({
            "cniVersion": "1.0.0",
            "interfaces": [{"name": "eth0", "mac": "02:00:00:00:00:01", "sandbox": pod.netns.path()}],
            "ips": [
                {"address": format!("{}/24", pod.ipv4), "gateway": "10.77.0.1", "interface": 0},
                {"address": format!("{}/64", pod.ipv6), "gateway": "fd77::1", "interface": 0},
            ],
            "dns": {},
        })
    }

    /// Starts it.
    ///
    /// # Errors
    /// The plugin is not there.
    pub fn start(&self) -> Result<Running> {
        let pod = self.pod;
        // STATUS and GC came with 1.1.0.
        let version = if matches!(self.verb, "STATUS" | "GC") {
            "1.1.0"
        } else {
            "1.0.0"
        };
        let config = json!({
            "cniVersion": version,
            "name": "pods",
            "type": "ambient-cni",
            "agent_socket": self.socket,
            "deadline_ms": u64::try_from(self.deadline.as_millis())?,
            "prevResult": self.previous_result(),
        });
        let mut child = std::process::Command::new(programs::ours("ambient-cni")?)
            .env("CNI_COMMAND", self.verb)
            .env("CNI_CONTAINERID", pod.container())
            .env("CNI_NETNS", pod.netns.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/nowhere")
            .env(
                "CNI_ARGS",
                format!(
                    "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID=uid-{}",
                    pod.namespace, pod.name, pod.name
                ),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting the plugin")?;
        let input = child.stdin.take().context("no standard input")?;
        let mut running = Running(child);
        write_all(input, config.to_string().as_bytes())
            .or_else(|error| running.kill().and(Err(error)))?;
        Ok(running)
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It does not end, or answers something else than JSON.
    pub fn answer(&self) -> Result<Answer> {
        self.start()?.answer()
    }

    /// Runs it; it must succeed, and ADD must pass the previous result through.
    ///
    /// # Errors
    /// It fails.
    pub fn succeed(&self) -> Result<()> {
        let answer = self.answer()?;
        ensure!(answer.code == Some(0), "{} failed: {answer:?}", self.verb);
        if self.verb == "ADD" {
            let expected = self.previous_result();
            ensure!(answer.output == expected, "not prevResult: {answer:?}");
        }
        Ok(())
    }

    /// Runs it; it must fail with a document of the specification.
    ///
    /// # Errors
    /// It succeeds, or dies.
    pub fn fail(&self) -> Result<Answer> {
        let answer = self.answer()?;
        ensure!(
            answer.code == Some(1),
            "{} did not fail: {answer:?}",
            self.verb
        );
        let told = answer.output["code"].is_u64() && answer.output["msg"].is_string();
        ensure!(told, "no error document: {answer:?}");
        Ok(answer)
    }
}

/// A plugin that was killed meanwhile does not read; that is the caller's doing.
fn write_all(mut input: std::process::ChildStdin, bytes: &[u8]) -> Result<()> {
    match input.write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

impl Running {
    /// Its process number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL, and waits for its end.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end, or answers something else than JSON.
    pub fn answer(mut self) -> Result<Answer> {
        let status = until("the plugin's end", || {
            self.0.try_wait()?.context("it still runs")
        })?;
        let (mut output, mut errors) = (String::new(), String::new());
        let pipes = (self.0.stdout.take(), self.0.stderr.take());
        pipes.0.context("no output")?.read_to_string(&mut output)?;
        pipes.1.context("no errors")?.read_to_string(&mut errors)?;
        let output = if output.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&output).with_context(|| format!("not JSON: {output:?}"))?
        };
        Ok(Answer {
            code: status.code(),
            output,
            errors,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is no error.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
