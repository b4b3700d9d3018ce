//! Short-lived programs, with their own words in the error.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// System directories that a plain user's PATH may lack.
const SYSTEM: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program with a PATH that has the system directories too, and nothing on its standard input.
#[must_use]
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{path}:{SYSTEM}"))
        .stdin(Stdio::null());
    command
}

/// Where a program is.
///
/// # Errors
/// It is in none of the directories.
pub fn find_program(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:{SYSTEM}")
        .split(':')
        .map(|directory| PathBuf::from(directory).join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("`{name}` is not installed (hack/demo installs what is missing)"))
}

/// Runs a command to its end; its standard output is the answer.
///
/// # Errors
/// It could not be started, or failed: with its standard error.
pub fn run(command: &mut Command) -> Result<String> {
    let text = format!("{command:?}");
    let output = command
        .output()
        .with_context(|| format!("starting {text}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{text}: {}: {}", output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Many `ip` commands in one process, in a named namespace or in ours.
pub(crate) fn ip_batch(netns: Option<&str>, script: &str) -> Result<()> {
    let mut command = program("ip");
    if let Some(netns) = netns {
        command.args(["-n", netns]);
    }
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("starting ip")?;
    if let Some(mut input) = child.stdin.take() {
        input
            .write_all(script.as_bytes())
            .context("writing to ip")?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "ip in {netns:?}: {}\n{script}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
