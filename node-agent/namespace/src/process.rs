//! Runs the packet filter's tools, several at once, never past the deadline and never outliving us.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// A tool that prints more is not believed: rules that are cut off would be taken for missing. The
/// node's own are many where there are thousands of services.
const MAX_OUTPUT: u64 = 64 << 20;

/// Why a tool did not do its work.
#[derive(thiserror::Error, Debug)]
pub enum ToolError {
    /// It is not installed.
    #[error("{tool} is not installed on this node: install iptables, or choose the other backend")]
    Missing {
        /// Name of the program.
        tool: String,
    },
    /// It could not be started.
    #[error("cannot run {tool}: {source}")]
    Start {
        /// Name of the program.
        tool: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It did not finish in time and was killed; worth a retry.
    #[error("{tool} did not finish before the deadline and was killed")]
    Deadline {
        /// Name of the program.
        tool: String,
    },
    /// It said no.
    #[error("{tool} failed ({status}): {message}")]
    Failed {
        /// Name of the program.
        tool: String,
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        message: String,
    },
}

impl ToolError {
    /// Whether the same may work a moment later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, ToolError::Start { .. } | ToolError::Deadline { .. })
    }
}

/// A tool to run in the namespace of the calling thread.
pub(crate) struct Job {
    /// Name, for messages.
    pub(crate) tool: String,
    /// Where it is.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// What it reads.
    pub(crate) input: String,
    /// The file that the legacy tools lock.
    pub(crate) lock: PathBuf,
}

/// In a pod the legacy tools lock the namespace itself, so that pods do not wait for each other or
/// for whoever works on the host's rules.
pub(crate) const LOCK_OF_A_POD: &str = "/proc/self/ns/net";

/// A tool that runs. Dropping it kills it.
pub(crate) struct Running {
    tool: String,
    child: Child,
    done: OwnedFd,
    output: File,
    errors: File,
    status: Option<ExitStatus>,
}

impl Running {
    /// Starts a tool.
    pub(crate) fn start(job: Job) -> Result<Self, ToolError> {
        let Job {
            tool,
            program,
            arguments,
            input,
            lock,
        } = job;
        match Self::spawn(&program, &arguments, &input, &lock) {
            Ok((child, done, output, errors)) => Ok(Self {
                tool,
                child,
                done,
                output,
                errors,
                status: None,
            }),
            Err(source) => Err(ToolError::Start { tool, source }),
        }
    }

    /// Input and output are files in memory: no pipe can fill up, and waiting is for one thing only.
    fn spawn(
        program: &Path,
        arguments: &[String],
        input: &str,
        lock: &Path,
    ) -> io::Result<(Child, OwnedFd, File, File)> {
        let mut given = memory_file()?;
        given.write_all(input.as_bytes())?;
        given.rewind()?;
        let (output, errors) = (memory_file()?, memory_file()?);
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("XTABLES_LOCKFILE", lock)
            .stdin(given)
            .stdout(Stdio::from(output.try_clone()?))
            .stderr(Stdio::from(errors.try_clone()?));
        die_with_us(&mut command);
        let mut child = command.spawn()?;
        match process_descriptor(&child) {
            Ok(done) => Ok((child, done, output, errors)),
            Err(error) => {
                drop(child.kill());
                drop(child.wait());
                Err(error)
            }
        }
    }

    fn finish(mut self) -> Result<String, ToolError> {
        let tool = std::mem::take(&mut self.tool);
        let started = |source| ToolError::Start {
            tool: tool.clone(),
            source,
        };
        let Some(status) = self.status else {
            return Err(ToolError::Deadline { tool });
        };
        if !status.success() {
            let message = contents(&mut self.errors).map_err(started)?;
            return Err(ToolError::Failed {
                tool,
                status,
                message: one_line(&message),
            });
        }
        contents(&mut self.output).map_err(started)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.status.is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Waits for tools; those that have not finished at the deadline are killed. The answers are in the
/// order of the tools.
pub(crate) fn wait(mut tools: Vec<Running>, deadline: Instant) -> Vec<Result<String, ToolError>> {
    loop {
        let mut pending: Vec<PollFd<'_>> = tools
            .iter()
            .filter(|tool| tool.status.is_none())
            .map(|tool| PollFd::new(tool.done.as_fd(), PollFlags::POLLIN))
            .collect();
        let left = deadline.saturating_duration_since(Instant::now());
        if pending.is_empty() || left.is_zero() {
            break;
        }
        // Rounded up: a wait of less than a millisecond must not become a busy loop.
        let milliseconds = i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX);
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
        let polled = poll(&mut pending, timeout);
        if polled.is_err_and(|errno| errno != nix::Error::EINTR) {
            break;
        }
        for tool in tools.iter_mut().filter(|tool| tool.status.is_none()) {
            tool.status = tool.child.try_wait().unwrap_or_default();
        }
    }
    tools.into_iter().map(Running::finish).collect()
}

/// The tool is killed when the thread that started it ends, however it ends: a rule installed after
/// we were killed and cleaned up after would stay for ever.
fn die_with_us(command: &mut Command) {
    let us = std::process::id();
    // SAFETY: between fork and exec only async-signal-safe calls are made, and nothing allocates.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // We may have died before the call above.
            if u32::try_from(libc::getppid()) != Ok(us) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        });
    }
}

/// A descriptor that becomes readable when the child has ended.
fn process_descriptor(child: &Child) -> io::Result<OwnedFd> {
    let id = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: the call takes two integers; the child has not been waited for, so its id is its own.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us, close-on-exec, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn memory_file() -> io::Result<File> {
    Ok(memfd_create("tool", MFdFlags::MFD_CLOEXEC)?.into())
}

fn contents(file: &mut File) -> io::Result<String> {
    let mut text = Vec::new();
    file.rewind()?;
    file.take(MAX_OUTPUT + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_OUTPUT {
        return Err(io::Error::other("it printed more than can be read"));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// What the tool said, fit for one line of a log or an event.
fn one_line(text: &str) -> String {
    const MAX: usize = 400;
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() {
        line.push_str("it gave no reason");
    }
    if line.len() > MAX {
        let end = (0..=MAX)
            .rev()
            .find(|end| line.is_char_boundary(*end))
            .unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}
