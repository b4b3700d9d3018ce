//! A machine: namespaces of its own (network, mounts, processes, host name), and the programs that run in it.

use crate::record::{ClusterRecord, MachineRecord};
use anyhow::{Context, Result, ensure};
use e2e_netlab::{Daemon, ProcessId, program, run, wait};
use nix::sys::signal::Signal;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// The first process; an argument of bash, so that it needs no file that its own mounts would hide.
const SCRIPT: &str = include_str!("machine.sh");
/// Where a machine's programs are.
pub(crate) const PATH: &str =
    "/opt/peers:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A running machine. It ends with its first process, and everything in it with it.
#[derive(Debug)]
pub struct Machine {
    name: String,
    directory: PathBuf,
    holder: Daemon,
    init: ProcessId,
    daemons: Mutex<Vec<Daemon>>,
}

impl Machine {
    /// Starts one without programs or links, and writes it down.
    pub(crate) fn start(record: &mut ClusterRecord, name: &str, peers: &[PathBuf]) -> Result<Self> {
        let cluster = record.directory()?;
        let directory = cluster.join(name);
        std::fs::create_dir_all(directory.join("log"))?;
        let peers: Vec<String> = peers.iter().map(|one| one.display().to_string()).collect();
        let mut command = program("unshare");
        // Should only the holder be killed, the machine goes with it.
        command
            .args(["--mount", "--net", "--uts", "--ipc", "--pid", "--fork"])
            .args(["--mount-proc", "--kill-child", "--propagation", "private"])
            .args(["bash", "-c", SCRIPT, "machine"])
            .arg(&cluster)
            .arg(name)
            .arg(peers.join(":"));
        let holder = Daemon::start(name, &mut command, &directory.join("log/machine.log"))?;
        record.machines.push(MachineRecord {
            name: name.to_owned(),
            holder: holder.id(),
        });
        record.write()?;
        wait::until(&format!("machine {name} is ready"), PATIENCE, || {
            holder.check()?;
            ensure!(directory.join("ready").exists(), "it is not");
            Ok(())
        })?;
        let init = child_of(holder.id())?;
        Ok(Self {
            name: name.to_owned(),
            directory,
            holder,
            init,
            daemons: Mutex::new(Vec::new()),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its directory: the same path inside and outside.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its first process, as this machine numbers it.
    #[must_use]
    pub fn init(&self) -> ProcessId {
        self.init
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.init.pid))
    }

    /// A program that runs in it, as if started there.
    #[must_use]
    pub fn enter(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = self.nsenter(&["--mount", "--net", "--uts", "--ipc", "--pid"]);
        command.arg(name).env("PATH", PATH).env("HOME", "/root");
        command
    }

    /// A program of this machine in the other's network only.
    #[must_use]
    pub fn on_network(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = self.nsenter(&["--net"]);
        command.arg(name);
        command
    }

    fn nsenter(&self, namespaces: &[&str]) -> Command {
        let mut command = program("nsenter");
        command
            .args(["--target", &self.init.pid.to_string()])
            .args(namespaces)
            .arg("--");
        command
    }

    /// Many `ip` commands in one process, in its network.
    pub(crate) fn ip(&self, script: &str) -> Result<()> {
        let file = self.directory.join("ip.batch");
        std::fs::write(&file, script)?;
        run(self.on_network("ip").arg("-batch").arg(&file)).map(drop)
    }

    /// Starts a long-lived program; its output is in `log/NAME.log`.
    pub(crate) fn daemon(&self, name: &str, command: &mut Command) -> Result<()> {
        let log = self.directory.join("log").join(name).with_extension("log");
        let daemon = Daemon::start(name, command, &log)?;
        self.lock().push(daemon);
        Ok(())
    }

    /// An error, with the end of its log, if a program has ended.
    ///
    /// # Errors
    /// One has.
    pub fn check(&self) -> Result<()> {
        self.holder.check()?;
        let daemons = self.lock();
        daemons
            .iter()
            .try_for_each(Daemon::check)
            .with_context(|| format!("on machine {}", self.name))
    }

    /// Kills every program on it but its first process, which reaps them, and forgets them.
    pub(crate) fn kill_all(&self) -> Result<()> {
        // Children may be made while their parents are killed.
        loop {
            let all = ProcessId::all()?.into_iter();
            let ours: Vec<_> = all
                .filter(|id| id.alive() && self.is_on(*id) && !is_its_sleep(*id))
                .collect();
            if ours.is_empty() {
                break;
            }
            for id in &ours {
                // It may have ended meanwhile.
                drop(id.signal(Signal::SIGKILL));
            }
            for id in &ours {
                id.wait_for_end(PATIENCE)?;
            }
        }
        for daemon in self.lock().drain(..) {
            daemon.wait(PATIENCE)?;
        }
        Ok(())
    }

    /// Lets go on who waits for a program that hung: it has stopped itself with it, and would not reap it.
    pub(crate) fn wake(&self) {
        for daemon in self.lock().iter() {
            // It may have ended.
            drop(daemon.signal(Signal::SIGCONT));
        }
    }

    /// Waits for the end of a program that was killed, and forgets it.
    pub(crate) fn forget(&self, name: &str) -> Result<()> {
        let mut daemons = self.lock();
        let is_it = |one: &Daemon| one.log().file_stem().is_some_and(|stem| stem == name);
        let place = daemons.iter().position(is_it);
        let daemon = daemons.remove(place.with_context(|| format!("{name} was not started"))?);
        drop(daemons);
        daemon.wait(PATIENCE).map(drop)
    }

    fn is_on(&self, id: ProcessId) -> bool {
        id.descends_from(self.init) || id.parent().is_some_and(|parent| self.started(parent))
    }

    /// Whether one of its programs was started by way of this process.
    pub(crate) fn started(&self, pid: i32) -> bool {
        self.lock().iter().any(|daemon| daemon.id().pid == pid)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Daemon>> {
        self.daemons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it and everything in it at once.
    pub(crate) fn end(&self) -> Result<()> {
        self.init.signal(Signal::SIGKILL)?;
        self.wake();
        // It ends with its child, and reaps it: nobody knows when this machine's own first process would.
        if self.holder.wait(PATIENCE).is_err() {
            self.holder.end(Signal::SIGKILL, PATIENCE)?;
        }
        self.init.wait_for_end(PATIENCE)?;
        for daemon in self.lock().drain(..) {
            // What entered the machine ends with what it started there.
            daemon.wait(PATIENCE)?;
        }
        Ok(())
    }
}

/// What the first process waits with, for ever.
fn is_its_sleep(id: ProcessId) -> bool {
    id.command_line() == ["sleep", "infinity"]
}

/// The one child that `unshare --fork` has.
fn child_of(parent: ProcessId) -> Result<ProcessId> {
    let all = ProcessId::all()?;
    let mut children = all
        .into_iter()
        .filter(|one| one.parent() == Some(parent.pid));
    children
        .next()
        .with_context(|| format!("process {} has no child", parent.pid))
}
