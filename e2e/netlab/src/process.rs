//! Processes by number **and** start time, so that a recycled number is never mistaken for ours.

use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A process that cannot be confused with a later one of the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// Clock ticks after boot at which it started.
    pub started: u64,
}

/// What `/proc/PID/stat` says.
struct Stat {
    state: char,
    parent: i32,
    started: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; the fields after it do not.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

fn threads(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

impl ProcessId {
    /// The process that has this number now.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        stat(pid).map(|stat| Self {
            pid,
            started: stat.started,
        })
    }

    /// Ourselves.
    ///
    /// # Errors
    /// `/proc` is not readable.
    pub fn own() -> Result<Self> {
        let pid = i32::try_from(std::process::id())?;
        Self::of(pid).context("/proc does not show this process")
    }

    /// Its parent now.
    #[must_use]
    pub fn parent(&self) -> Option<i32> {
        stat(self.pid)
            .filter(|stat| stat.started == self.started)
            .map(|stat| stat.parent)
    }

    /// Whether it is a child of another process, or of one that is.
    #[must_use]
    pub fn descends_from(&self, ancestor: Self) -> bool {
        let mut id = *self;
        while let Some(parent) = id.parent().and_then(Self::of) {
            if parent == ancestor {
                return true;
            }
            id = parent;
        }
        false
    }

    /// Whether it still runs (a zombie does not, unless its other threads are still on their way out: its sockets are open).
    #[must_use]
    pub fn alive(&self) -> bool {
        let runs = |now: Stat| !"ZX".contains(now.state) || threads(self.pid) > 1;
        stat(self.pid).is_some_and(|now| now.started == self.started && runs(now))
    }

    /// Sends a signal; a process that has ended is not an error.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if !self.alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("{signal} to {}", self.pid)),
        }
    }

    /// The words it was started with; none once it has ended.
    #[must_use]
    pub fn command_line(&self) -> Vec<String> {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let words = bytes.split(|byte| *byte == 0);
        words
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect()
    }

    /// What each of its open descriptors stands for.
    ///
    /// # Errors
    /// It has ended.
    pub fn descriptors(&self) -> Result<Vec<String>> {
        let directory = format!("/proc/{}/fd", self.pid);
        let mut all = Vec::new();
        for entry in std::fs::read_dir(&directory).context(directory)? {
            // One may be closed while we look.
            if let Ok(target) = std::fs::read_link(entry?.path()) {
                all.push(target.display().to_string());
            }
        }
        all.sort();
        Ok(all)
    }

    /// Waits for its end, whoever its parent is.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn wait_for_end(&self, patience: Duration) -> Result<()> {
        wait::until(&format!("process {} ends", self.pid), patience, || {
            ensure!(!self.alive(), "it runs: {:?}", self.command_line());
            Ok(())
        })
    }

    /// All that run now.
    ///
    /// # Errors
    /// `/proc` is not readable.
    pub fn all() -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            if let Some(pid) = entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                found.extend(Self::of(pid));
            }
        }
        Ok(found)
    }
}

/// A long-lived program of ours, with its output in a file.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    id: ProcessId,
    log: PathBuf,
    child: Mutex<Child>,
}

impl Daemon {
    /// Starts it in a process group of its own: a Ctrl-C meant for us must not reach it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let errors: File = output.try_clone()?;
        let child = command
            .process_group(0)
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        let id = ProcessId::of(i32::try_from(child.id())?)
            .with_context(|| format!("{name} is not in /proc"))?;
        Ok(Self {
            name: name.to_owned(),
            id,
            log: log.to_owned(),
            child: Mutex::new(child),
        })
    }

    /// Its number and start time.
    #[must_use]
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// The file with what it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// An error with the end of its log if it has ended.
    ///
    /// # Errors
    /// It has ended.
    pub fn check(&self) -> Result<()> {
        if let Some(status) = self.status()? {
            let (name, log) = (&self.name, self.log.display());
            let words = tail(&self.log);
            let text = format!("{name} ended ({status}); the end of {log}:\n{words}");
            return Err(wait::Hopeless(text).into());
        }
        Ok(())
    }

    fn status(&self) -> Result<Option<ExitStatus>> {
        Ok(self
            .child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .try_wait()?)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.id.signal(signal)
    }

    /// Sends a signal and waits for the end.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn end(&self, signal: Signal, patience: Duration) -> Result<ExitStatus> {
        self.signal(signal)?;
        self.wait(patience)
            .with_context(|| format!("after {signal}"))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn wait(&self, patience: Duration) -> Result<ExitStatus> {
        let start = std::time::Instant::now();
        loop {
            if let Some(status) = self.status()? {
                return Ok(status);
            }
            if start.elapsed() > patience {
                bail!("{} still runs after {patience:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for a text in its log.
    pub(crate) fn wait_for_log(&self, text: &str, patience: Duration) -> Result<()> {
        wait::until(&format!("{} says {text:?}", self.name), patience, || {
            self.check()?;
            let log = std::fs::read(&self.log)?;
            if String::from_utf8_lossy(&log).contains(text) {
                return Ok(());
            }
            bail!("its log ends with:\n{}", tail(&self.log))
        })
    }
}

/// The last lines of a file, for an error message.
pub(crate) fn tail(file: &Path) -> String {
    let text = std::fs::read(file).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&text))
}

/// The last lines of a text, for an error message.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
