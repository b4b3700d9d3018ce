//! One program, run to its end or to the deadline.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use node_agent_redirect::{Backend, Family};

use crate::tool::{self, Action};

/// Why the packet rules could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The program is not there.
    #[error("{program} was not found: install iptables on the node, or choose the other backend")]
    Missing {
        /// Its name.
        program: String,
    },
    /// It did not start.
    #[error("cannot start {program}: {source}")]
    Start {
        /// Its name.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It refused.
    #[error("{program} failed ({status}): {said}")]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        said: String,
    },
    /// It had not ended at the deadline and was killed.
    #[error("{program} had not ended at the deadline and was killed; the node is overloaded or another program holds the lock")]
    Deadline {
        /// Its name.
        program: String,
    },
    /// Its input or output could not be passed.
    #[error("cannot talk to {program}: {source}")]
    Talk {
        /// Its name.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl RunError {
    /// Whether trying again may help without anybody changing anything.
    #[must_use]
    pub fn retry(&self) -> bool {
        match self {
            // 4 is "a resource is short or busy".
            RunError::Failed { status, .. } => status.code() == Some(4),
            RunError::Start { .. } | RunError::Deadline { .. } | RunError::Talk { .. } => true,
            RunError::Missing { .. } => false,
        }
    }
}

/// The most of a dump that is read: far above any real one.
const MOST_OUTPUT: u64 = 16 << 20;
/// The most of what a failing program says that is repeated.
const MOST_SAID: usize = 2000;
/// How long a killed program may take to go.
const DEATH: Duration = Duration::from_secs(1);

/// A running program. Dropped before its end it is killed.
#[derive(Debug)]
pub(crate) struct Job {
    program: String,
    child: Option<Child>,
    watch: OwnedFd,
    output: File,
    errors: File,
}

impl Job {
    /// Starts `iptables-save`.
    pub(crate) fn save(backend: Backend, family: Family, until: Instant) -> Result<Self, RunError> {
        Self::start(backend, family, Action::Save, "", until)
    }

    /// Starts `iptables-restore` with this text.
    pub(crate) fn restore(
        backend: Backend,
        family: Family,
        text: &str,
        until: Instant,
    ) -> Result<Self, RunError> {
        Self::start(backend, family, Action::Restore, text, until)
    }

    /// Starts a program in the namespace the calling thread is in.
    fn start(
        backend: Backend,
        family: Family,
        action: Action,
        input: &str,
        until: Instant,
    ) -> Result<Self, RunError> {
        let program = tool::name(backend, family, action);
        let Some(path) = tool::find(backend, family, action) else {
            return Err(RunError::Missing { program });
        };
        let talk = |source| RunError::Talk {
            program: program.clone(),
            source,
        };
        // Files in memory instead of pipes: nobody has to read or write while the program runs.
        let (output, errors) = (memory().map_err(talk)?, memory().map_err(talk)?);
        let mut text = memory().map_err(talk)?;
        text.write_all(input.as_bytes()).map_err(talk)?;
        text.rewind().map_err(talk)?;
        let mut command = Command::new(path);
        command
            .stdin(Stdio::from(text))
            .stdout(Stdio::from(output.try_clone().map_err(talk)?))
            .stderr(Stdio::from(errors.try_clone().map_err(talk)?))
            .env("LC_ALL", "C");
        if action == Action::Restore {
            command.arg("--noflush");
        }
        if backend == Backend::Legacy && action == Action::Restore {
            let seconds = until.saturating_duration_since(Instant::now()).as_secs();
            command.arg(format!("--wait={}", seconds.max(1)));
            // The program's own namespace as its lock: pods do not wait for each other nor for the
            // node, and there is no file to be left behind.
            command.env("XTABLES_LOCKFILE", "/proc/self/ns/net");
        }
        let start = |source| RunError::Start {
            program: program.clone(),
            source,
        };
        let mut child = command.spawn().map_err(start)?;
        match watch(&child) {
            Ok(watch) => Ok(Self {
                program,
                child: Some(child),
                watch,
                output,
                errors,
            }),
            Err(source) => {
                let error = start(source);
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// Waits for its end; returns what it printed.
    pub(crate) fn finish(mut self, until: Instant) -> Result<String, RunError> {
        let talk = |source| RunError::Talk {
            program: self.program.clone(),
            source,
        };
        if !self.ended(until).map_err(talk)? {
            return Err(RunError::Deadline {
                program: self.program.clone(),
            });
        }
        let Some(mut child) = self.child.take() else {
            return Ok(String::new());
        };
        let status = child.wait().map_err(talk)?;
        if status.success() {
            return contents(&mut self.output).map_err(talk);
        }
        let said = contents(&mut self.errors).map_err(talk)?;
        let said: String = said
            .trim()
            .chars()
            .take(MOST_SAID)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        Err(RunError::Failed {
            program: self.program.clone(),
            status,
            said,
        })
    }

    fn ended(&self, until: Instant) -> io::Result<bool> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // Rounded up: a wait of less than a millisecond is a wait.
            let left = PollTimeout::try_from(left + Duration::from_micros(999))
                .unwrap_or(PollTimeout::MAX);
            match poll(
                &mut [PollFd::new(self.watch.as_fd(), PollFlags::POLLIN)],
                left,
            ) {
                Ok(0) if Instant::now() >= until => return Ok(false),
                Ok(0) | Err(nix::Error::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let _ = child.kill();
        if matches!(self.ended(Instant::now() + DEATH), Ok(true)) {
            let _ = child.wait();
        } else {
            // Stuck in the kernel. Nobody waits for it here, but somebody has to.
            drop(std::thread::Builder::new().spawn(move || child.wait()));
        }
    }
}

fn memory() -> io::Result<File> {
    Ok(File::from(memfd_create("iptables", MFdFlags::MFD_CLOEXEC)?))
}

fn contents(file: &mut File) -> io::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MOST_OUTPUT).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == MOST_OUTPUT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too long a dump"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A descriptor that becomes readable when the program ends.
fn watch(child: &Child) -> io::Result<OwnedFd> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: two numbers in, a number out; the child has not been waited for, so the number is its.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor (close-on-exec) and it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
