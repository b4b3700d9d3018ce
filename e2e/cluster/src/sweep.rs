//! Removing clusters: those whose owner has died, and one by its name, whatever state it is in.

use crate::limits;
use crate::record::{ClusterRecord, directories, home};
use anyhow::{Context, Result, ensure};
use e2e_netlab::{ProcessId, remove_cgroups, wait};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// Removes the clusters that nobody owns any more; gives their names.
///
/// # Errors
/// Something of one stays.
pub fn sweep() -> Result<Vec<String>> {
    sweep_under(&lock()?)
}

/// Two runs that start together would trip over each other's removals.
pub(crate) fn lock() -> Result<Flock<File>> {
    let file = File::create(home()?.join("sweep.lock"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

pub(crate) fn sweep_under(_lock: &Flock<File>) -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for directory in directories()? {
        let record = ClusterRecord::read(&directory);
        if record.as_ref().is_ok_and(|record| record.owner.alive()) {
            continue;
        }
        let name = directory.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        remove(&name)?;
        removed.push(name);
    }
    Ok(removed)
}

/// Removes one: processes first, then what only they held is gone with them, then cgroups, limits and files.
pub(crate) fn remove(name: &str) -> Result<()> {
    let directory = home()?.join(name);
    // A cluster without a readable record died while it was made or removed; its processes are found without.
    let record = ClusterRecord::read(&directory).ok();
    if let Some(record) = &record {
        for machine in &record.machines {
            machine.holder.signal(Signal::SIGKILL)?;
        }
    }
    wait::until(&format!("all of {name} ends"), PATIENCE, || {
        let left = processes_of(&directory)?;
        for process in &left {
            process.signal(Signal::SIGKILL)?;
        }
        ensure!(left.is_empty(), "these run: {left:?}");
        Ok(())
    })?;
    remove_cgroups(name)?;
    limits::put_back(&record.map(|record| record.limits).unwrap_or_default())?;
    if directory.exists() {
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("removing {}", directory.display()))?;
    }
    Ok(())
}

/// Processes that were started with the cluster's directory among their words (the holders of machines and the first
/// processes of them always are), and those that see it mounted.
fn processes_of(directory: &Path) -> Result<Vec<ProcessId>> {
    let own = ProcessId::own()?;
    let path = directory.display().to_string();
    let below = format!("{path}/");
    let names_it = |one: &ProcessId| {
        (one.command_line().iter()).any(|word| *word == path || word.contains(&below))
    };
    let sees_it = |one: &ProcessId| {
        let mounts = std::fs::read_to_string(format!("/proc/{}/mountinfo", one.pid));
        mounts.is_ok_and(|text| text.split_whitespace().any(|word| word == path))
    };
    let all = ProcessId::all()?;
    Ok(all
        .into_iter()
        .filter(|one| *one != own && one.alive() && (names_it(one) || sees_it(one)))
        .collect())
}

/// What a cluster has left on this machine; all empty after a tear-down.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Processes.
    pub processes: Vec<ProcessId>,
    /// Lines of this machine's mount table that name it.
    pub mounts: Vec<String>,
    /// Directories and cgroups.
    pub files: Vec<PathBuf>,
}

/// Looks for what is left of a cluster.
///
/// # Errors
/// `/proc` is not readable.
pub fn left_of(name: &str) -> Result<Left> {
    let directory = home()?.join(name);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut files = Vec::new();
    let trees = std::fs::read_dir("/sys/fs/cgroup")?;
    let trees = trees.flatten().map(|entry| entry.path());
    for tree in trees.chain([home()?, "/sys/fs/cgroup".into(), "/run/netns".into()]) {
        let entries = std::fs::read_dir(tree).into_iter().flatten().flatten();
        files.extend(
            entries
                .filter(|entry| entry.file_name().to_string_lossy().starts_with(name))
                .map(|entry| entry.path()),
        );
    }
    Ok(Left {
        processes: processes_of(&directory)?,
        mounts: (mounts.lines())
            .filter(|line| line.contains(name))
            .map(str::to_owned)
            .collect(),
        files,
    })
}
