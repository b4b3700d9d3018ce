//! Network namespaces with names that tell who made them.

use crate::PATIENCE;
use anyhow::{Context, Result};
use e2e_netlab::{ProcessId, end_agent_processes, find_program, inside, run};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const NAMES: &str = "/run/netns";
/// Begins all names; what follows is the maker's number and start time.
const PREFIX: &str = "ame-";
static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A namespace; removed when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
    path: PathBuf,
    /// Removed by somebody else.
    borrowed: bool,
}

impl Netns {
    /// Makes one with its loopback up and without duplicate address detection, which only takes time here.
    ///
    /// # Errors
    /// The kernel refuses; usually for want of root.
    pub fn create(role: &str) -> Result<Self> {
        let own = ProcessId::own()?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{}-{serial}-{role}", own.pid, own.started);
        ip(&["netns", "add", &name])?;
        let made = Self {
            path: Path::new(NAMES).join(&name),
            name,
            borrowed: false,
        };
        made.ip(&["link", "set", "lo", "up"])?;
        for key in ["all", "default"] {
            made.sysctl(&format!("ipv6/conf/{key}/accept_dad"), "0")?;
        }
        Ok(made)
    }

    /// The same one, which is removed when this one is.
    #[must_use]
    pub fn same(&self) -> Self {
        Self {
            name: self.name.clone(),
            path: self.path.clone(),
            borrowed: true,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `ip` in it.
    ///
    /// # Errors
    /// It fails.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        let mut all = vec!["-n", &self.name];
        all.extend_from_slice(arguments);
        ip(&all)
    }

    /// Sets a sysctl under `net`.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.run(|| {
            let file = Path::new("/proc/sys/net").join(key);
            std::fs::write(&file, value).with_context(|| format!("writing {}", file.display()))
        })?
    }

    /// Does something in it. Sockets made there stay there.
    ///
    /// # Errors
    /// It cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        inside(&self.path, work)
    }

    /// A program in it, under its own process number.
    ///
    /// # Errors
    /// `nsenter` is not installed.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Result<Command> {
        let mut command = Command::new(find_program("nsenter")?);
        command.arg(format!("--net={}", self.path.display()));
        command.arg("--").arg(program);
        Ok(command)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if !self.borrowed {
            // Should this fail, the next run's sweep tries again.
            drop(ip(&["netns", "delete", &self.name]));
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String> {
    run(Command::new(find_program("ip")?).args(arguments))
}

/// Removes the namespaces of test processes that have died without doing so.
///
/// # Errors
/// One of them stays.
pub fn sweep() -> Result<()> {
    let Ok(entries) = std::fs::read_dir(NAMES) else {
        return Ok(());
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if owner(&name).is_some_and(|owner| !owner.alive()) {
            // Agents are not children that die with their test.
            let path = Path::new(NAMES).join(&name);
            end_agent_processes(Some(&path), &path, PATIENCE)?;
            // Two runs may sweep at once.
            if let Err(error) = ip(&["netns", "delete", &name])
                && Path::new(NAMES).join(&name).exists()
            {
                return Err(error);
            }
        }
    }
    Ok(())
}

fn owner(name: &str) -> Option<ProcessId> {
    let mut parts = name.strip_prefix(PREFIX)?.split('-');
    Some(ProcessId {
        pid: parts.next()?.parse().ok()?,
        started: parts.next()?.parse().ok()?,
    })
}
