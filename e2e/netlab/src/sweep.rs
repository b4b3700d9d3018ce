//! Removing a lab: by what hangs on its names, not by what somebody remembers, so that it works after any crash.

use crate::command::{program, run};
use crate::netns::{self, NAMES};
use crate::parts::agent_processes;
use crate::process::ProcessId;
use crate::record::{LabRecord, directories, home};
use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// Which labs a sweep takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Those whose owner has died, but not those kept on purpose.
    Abandoned,
    /// Those whose owner has died, kept or not.
    AbandonedAndKept,
}

/// Removes the labs that nobody owns any more; gives their names.
///
/// # Errors
/// Something of a lab stays.
pub fn sweep(which: Sweep) -> Result<Vec<String>> {
    // Two runs that start together would trip over each other's removals.
    let lock = File::create(home()?.join("sweep.lock"))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    let mut removed = Vec::new();
    for directory in directories()? {
        let name = directory
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // A lab without a readable record died while it was being removed.
        if let Ok(record) = LabRecord::read(&directory) {
            let spared = record.kept && which == Sweep::Abandoned;
            if record.owner.alive() && !record.kept || spared {
                continue;
            }
        }
        remove_lab(&name)?;
        removed.push(name);
    }
    Ok(removed)
}

/// Removes one lab by its name, whatever state it is in.
///
/// # Errors
/// Something of it stays.
pub fn remove_lab(name: &str) -> Result<()> {
    let directory = home()?.join(name);
    let namespaces = namespaces_of(name)?;
    end_processes(&directory, &namespaces)?;
    remove_shim_sockets(&directory);
    unmount(&directory)?;
    for namespace in &namespaces {
        let text = namespace.file_name().unwrap_or_default();
        run(program("ip").args(["netns", "delete"]).arg(text))?;
    }
    remove_cgroups(name)?;
    remove_results(&directory);
    if directory.exists() {
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("removing {}", directory.display()))?;
    }
    Ok(())
}

/// Our named namespaces: `NAME-...`.
fn namespaces_of(name: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if Path::new(NAMES).exists() {
        for entry in std::fs::read_dir(NAMES)? {
            let entry = entry?;
            if entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("{name}-"))
            {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// Mount points below a directory, deepest last; all, or those of one type.
fn mounts_below(directory: &Path, kind: Option<&str>) -> Result<Vec<PathBuf>> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    let of_kind = |line: &&str| kind.is_none_or(|kind| line.contains(&format!(" - {kind} ")));
    let points = text
        .lines()
        .filter(of_kind)
        .filter_map(|line| line.split(' ').nth(4));
    Ok(points
        .map(PathBuf::from)
        .filter(|point| point.starts_with(directory))
        .collect())
}

/// Ends every process whose network namespace is one of ours (nodes, pods) or that is of an agent of ours wherever it is,
/// and all their descendants.
fn end_processes(directory: &Path, namespaces: &[PathBuf]) -> Result<()> {
    let pods = mounts_below(directory, Some("nsfs"))?;
    let inodes: HashSet<u64> = namespaces
        .iter()
        .chain(&pods)
        .filter_map(|path| netns::inode(path).ok())
        .collect();
    let start = Instant::now();
    loop {
        let ours = processes_in(&inodes, directory)?;
        if ours.is_empty() {
            return Ok(());
        }
        let late = start.elapsed() > PATIENCE;
        ensure!(
            !late,
            "these processes of {} do not end: {ours:?}",
            directory.display()
        );
        for process in &ours {
            process.signal(Signal::SIGKILL)?;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn processes_in(inodes: &HashSet<u64>, directory: &Path) -> Result<Vec<ProcessId>> {
    let own = ProcessId::own()?;
    let all = ProcessId::all()?;
    let mut found: HashSet<i32> = HashSet::new();
    for process in &all {
        // Some are not ours to look at; those are not in our namespaces either.
        let namespace = PathBuf::from(format!("/proc/{}/ns/net", process.pid));
        if netns::inode(&namespace).is_ok_and(|inode| inodes.contains(&inode)) {
            found.insert(process.pid);
        }
    }
    // An orphan in a namespace that has lost its name is neither there nor anybody's descendant.
    let agents = agent_processes(None, directory)?;
    found.extend(agents.iter().map(|agent| agent.id.pid));
    loop {
        let children: Vec<i32> = all
            .iter()
            .filter(|process| !found.contains(&process.pid))
            .filter(|process| {
                process
                    .parent()
                    .is_some_and(|parent| found.contains(&parent))
            })
            .map(|process| process.pid)
            .collect();
        if children.is_empty() {
            break;
        }
        found.extend(children);
    }
    Ok(all
        .into_iter()
        .filter(|one| found.contains(&one.pid) && one.pid != own.pid && one.alive())
        .collect())
}

/// containerd puts its shims' sockets into one place for all containerds; each bundle says which is its own.
fn remove_shim_sockets(directory: &Path) {
    let Ok(nodes) = std::fs::read_dir(directory) else {
        return;
    };
    for node in nodes.flatten() {
        let tasks = node
            .path()
            .join("containerd/state/io.containerd.runtime.v2.task/k8s.io");
        let Ok(bundles) = std::fs::read_dir(tasks) else {
            continue;
        };
        for bundle in bundles.flatten() {
            let address =
                std::fs::read_to_string(bundle.path().join("address")).unwrap_or_default();
            if let Some(socket) = address.strip_prefix("unix:///run/containerd/s/") {
                // Absent when the shim has removed it itself.
                drop(std::fs::remove_file(
                    Path::new("/run/containerd/s").join(socket),
                ));
            }
        }
    }
}

/// The CNI library of every containerd keeps its results in one place for all; a result names the
/// network namespace it is about, which lies below the lab.
fn remove_results(directory: &Path) {
    let Ok(results) = std::fs::read_dir("/var/lib/cni/results") else {
        return;
    };
    let below = format!("{}/", directory.display());
    for result in results.flatten() {
        let text = std::fs::read_to_string(result.path()).unwrap_or_default();
        if text.contains(&below) {
            // Absent when the runtime has removed it itself.
            drop(std::fs::remove_file(result.path()));
        }
    }
}

fn unmount(directory: &Path) -> Result<()> {
    for point in mounts_below(directory, None)?.iter().rev() {
        umount2(point, MntFlags::MNT_DETACH)
            .with_context(|| format!("unmounting {}", point.display()))?;
    }
    Ok(())
}

/// Removes the cgroups called `NAME-...`. Version 1 has one tree per controller, version 2 only one: both are covered.
///
/// # Errors
/// A process is still in one.
pub fn remove_cgroups(name: &str) -> Result<()> {
    let ours = format!("{name}-");
    for tree in cgroup_trees() {
        for group in groups_in(&tree) {
            let named = group.file_name().unwrap_or_default().to_string_lossy();
            if named.starts_with(&ours) {
                remove_cgroup(&group, Instant::now() + PATIENCE)?;
            }
        }
    }
    Ok(())
}

/// Removes what is below the cgroup of that name, in every tree; nothing may run in it any more.
///
/// # Errors
/// One cannot be removed.
pub fn empty_cgroup(name: &str) -> Result<()> {
    for tree in cgroup_trees() {
        for group in groups_in(&tree.join(name)) {
            remove_cgroup(&group, Instant::now() + PATIENCE)?;
        }
    }
    Ok(())
}

/// Where cgroups are: the one tree, and those below it if there are many.
fn cgroup_trees() -> Vec<PathBuf> {
    let root = PathBuf::from("/sys/fs/cgroup");
    let mut trees = groups_in(&root);
    trees.push(root);
    trees
}

fn groups_in(place: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let groups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_file()));
    groups.map(|entry| entry.path()).collect()
}

fn remove_cgroup(group: &Path, deadline: Instant) -> Result<()> {
    for below in groups_in(group) {
        remove_cgroup(&below, deadline)?;
    }
    loop {
        match std::fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            // Busy until the kernel has let go of the last dead process.
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("removing {}", group.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}
