//! Calls of kubectl, wherever it has to run to reach the API server.

use anyhow::{Context, Result, bail};
use e2e_netlab::program;
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// How to reach a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Kubectl {
    /// Words before every command: how to enter the machine from which the API server is reached, if it is one.
    pub(crate) prefix: Vec<String>,
    /// Where its programs are looked for first.
    pub(crate) path: String,
    /// Who we are.
    pub(crate) kubeconfig: PathBuf,
}

impl Kubectl {
    /// Any client of the API server, such as `kubectl`, `helm` or `istioctl`.
    pub(crate) fn client(&self, name: &str) -> Command {
        let mut command = match self.prefix.split_first() {
            Some((first, rest)) => {
                let mut command = program(first);
                command.args(rest).arg(name).env("HOME", "/root");
                command
            }
            None => program(name),
        };
        command
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// Runs kubectl to its end; its standard output is the answer.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        e2e_netlab::run(self.client("kubectl").args(arguments))
    }

    /// What kubectl prints as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = self.client("kubectl");
        let text = e2e_netlab::run(command.args(arguments).args(["-o", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("the answer of {arguments:?}"))
    }

    /// Applies manifests; what the same field manager applied before is updated.
    pub(crate) fn apply(&self, manifests: &str) -> Result<()> {
        self.feed(&[], manifests)
    }

    /// Whether the API server would take manifests as they are, with every field known.
    pub(crate) fn accepts(&self, manifests: &str) -> Result<()> {
        self.feed(&["--dry-run=server", "--validate=strict"], manifests)
    }

    /// Creates something; what the API server answers.
    pub(crate) fn create(&self, manifest: &str) -> Result<Value> {
        let mut command = self.client("kubectl");
        let output = fed(command.args(["create", "-o", "json", "-f", "-"]), manifest)?;
        let errors = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).with_context(|| format!("kubectl create: {errors}"))
    }

    fn feed(&self, options: &[&str], manifests: &str) -> Result<()> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let mut command = self.client("kubectl");
        let output = fed(command.args(arguments).args(options), manifests)?;
        if !output.status.success() {
            bail!("kubectl apply: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    /// Waits until something exists and then fulfils a condition, as `kubectl wait --for` has them.
    pub(crate) fn wait(&self, what: &[&str], condition: &str, patience: Duration) -> Result<()> {
        // Of several that are not there yet it gives up at once.
        let (named, others): (Vec<&str>, Vec<&str>) =
            what.iter().partition(|word| word.contains('/'));
        for name in &named {
            let one = [&others[..], &[*name]].concat();
            self.wait_for(&one, "create", patience)?;
        }
        if named.is_empty() {
            self.wait_for(what, "create", patience)?;
        }
        self.wait_for(what, condition, patience)
    }

    fn wait_for(&self, what: &[&str], condition: &str, patience: Duration) -> Result<()> {
        let condition = format!("--for={condition}");
        let timeout = format!("--timeout={}s", patience.as_secs());
        self.run(&[&["wait", &condition, &timeout], what].concat())
            .map(drop)
    }
}

/// Runs a command that reads a text.
pub(crate) fn fed(command: &mut Command, text: &str) -> Result<Output> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let mut input = child.stdin.take().context("no standard input")?;
    // It writes little before it has read everything: this cannot block for ever.
    let written = input.write_all(text.as_bytes());
    drop(input);
    let output = child.wait_with_output()?;
    // Its own complaint says more than a broken pipe.
    if output.status.success() {
        written.context("writing to it")?;
    }
    Ok(output)
}
