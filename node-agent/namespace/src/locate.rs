//! Finds where pods run that nobody told us of: by the cgroups of the node's processes, and by what
//! the namespaces really carry. A name alone is never believed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::addresses::addresses;
use crate::cgroup::{self, PodCgroup};
use crate::netns::{Netns, NetnsId};

/// Where to look.
#[derive(Clone, Debug)]
pub struct Whereabouts {
    /// The host's `/proc`.
    pub proc: PathBuf,
    /// Directories in which runtimes give names to namespaces.
    pub names: Vec<PathBuf>,
}

/// A pod that is looked for.
#[derive(Clone, Debug)]
pub struct Sought<'a> {
    /// Its uid on the node.
    pub uid: &'a str,
    /// Its addresses, all of which its namespace must carry.
    pub addresses: &'a [IpAddr],
    /// The ids of its containers, of which the sandbox is none.
    pub containers: &'a [String],
}

/// Where a pod runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// A path of its namespace that lasts as long as the sandbox does.
    pub netns: PathBuf,
    /// The sandbox's id, if it is beyond doubt.
    pub sandbox: Option<String>,
}

/// Why a pod was not found.
#[derive(thiserror::Error, Debug)]
pub enum NotFound {
    /// No process has its uid.
    #[error(
        "no process of the pod is seen; is the host's /proc visible to the agent (procDir, or hostPID)?"
    )]
    NoProcess,
    /// Its processes are in other namespaces.
    #[error(
        "no namespace of the pod's processes carries its addresses: it runs in a virtual machine, or the API \
         server and the node disagree for a moment"
    )]
    NoNamespace,
    /// The namespace has no path that can be relied on.
    #[error(
        "the pod's namespace has no name in netnsDirs, and its sandbox's process cannot be told; mount the \
         host's directory of namespaces into the agent's pod"
    )]
    NoName,
    /// The time was up.
    #[error("the node's processes could not be looked through in time; the node may be overloaded")]
    Late,
}

/// A process of a pod.
#[derive(Debug)]
struct Process {
    pid: u32,
    started: u64,
    command: String,
    container: Option<String>,
    netns: NetnsId,
}

/// Looks for pods, in the order in which they are given.
///
/// # Errors
/// The processes cannot be listed.
pub fn locate(
    places: &Whereabouts,
    sought: &[Sought<'_>],
    until: Instant,
) -> io::Result<Vec<Result<Found, NotFound>>> {
    let wanted: BTreeSet<&str> = sought.iter().map(|pod| pod.uid).collect();
    let Some(mut processes) = processes(places, &wanted, until)? else {
        return Ok(sought.iter().map(|_| Err(NotFound::Late)).collect());
    };
    let names = names(&places.names);
    let one = |pod: &Sought<'_>| {
        if Instant::now() >= until {
            return Err(NotFound::Late);
        }
        let mut processes = processes.remove(pod.uid).ok_or(NotFound::NoProcess)?;
        // The sandbox's is the oldest there is.
        processes.sort_by_key(|process| (process.started, process.pid));
        of_pod(places, pod, &processes, &names)
    };
    Ok(sought.iter().map(one).collect())
}

fn of_pod(
    places: &Whereabouts,
    pod: &Sought<'_>,
    processes: &[Process],
    names: &BTreeMap<NetnsId, PathBuf>,
) -> Result<Found, NotFound> {
    let mut tried = BTreeSet::new();
    let home = processes
        .iter()
        .find(|process| tried.insert(process.netns) && carries(places, process, pod.addresses));
    let home = home.ok_or(NotFound::NoNamespace)?.netns;
    let sandbox = sandbox(processes, pod.containers).filter(|process| process.netns == home);
    let named = names.get(&home).cloned();
    // The sandbox's process lives as long as the sandbox.
    let netns = named.or_else(|| sandbox.map(|process| netns_of(places, process.pid)));
    Ok(Found {
        netns: netns.ok_or(NotFound::NoName)?,
        sandbox: sandbox.and_then(|process| process.container.clone()),
    })
}

/// The process that the runtime started before all others to keep the sandbox. Three things must
/// agree, because a wrong id would be worse than none.
fn sandbox<'a>(processes: &'a [Process], containers: &[String]) -> Option<&'a Process> {
    let oldest = processes.first()?;
    let container = oldest.container.as_ref()?;
    let keeps = ["pause", "pod"].contains(&oldest.command.as_str());
    (keeps && !containers.contains(container)).then_some(oldest)
}

/// Whether the namespace is a pod's, and has all of the addresses.
fn carries(places: &Whereabouts, process: &Process, wanted: &[IpAddr]) -> bool {
    // Refuses the node's own, whatever path leads there.
    let Ok(netns) = Netns::open(netns_of(places, process.pid)) else {
        return false;
    };
    // The number may be another process's by now.
    netns.id() == process.netns
        && !wanted.is_empty()
        && addresses(&netns).is_ok_and(|there| {
            let there: Vec<IpAddr> = there.iter().map(IpAddr::to_canonical).collect();
            wanted.iter().all(|address| there.contains(address))
        })
}

/// The processes of wanted pods, by uid; nothing if the time was up.
fn processes(
    places: &Whereabouts,
    wanted: &BTreeSet<&str>,
    until: Instant,
) -> io::Result<Option<BTreeMap<String, Vec<Process>>>> {
    let host = id(&netns_of(places, 1));
    let mut found: BTreeMap<String, Vec<Process>> = BTreeMap::new();
    for entry in fs::read_dir(&places.proc)? {
        if Instant::now() >= until {
            return Ok(None);
        }
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ends meanwhile is none.
        if let Some((uid, process)) = process(places, pid, wanted)
            && host != Some(process.netns)
        {
            found.entry(uid).or_default().push(process);
        }
    }
    Ok(Some(found))
}

fn process(places: &Whereabouts, pid: u32, wanted: &BTreeSet<&str>) -> Option<(String, Process)> {
    let directory = places.proc.join(pid.to_string());
    let text = fs::read_to_string(directory.join("cgroup")).ok()?;
    let PodCgroup { uid, container } = cgroup::parse(&text)?;
    if !wanted.contains(uid.as_str()) {
        return None;
    }
    let netns = id(&netns_of(places, pid))?;
    let stat = fs::read_to_string(directory.join("stat")).ok()?;
    let (command, started) = command_and_start(&stat)?;
    let process = Process {
        pid,
        started,
        command: command.to_owned(),
        container,
        netns,
    };
    Some((uid, process))
}

/// The command stands in brackets and may have any character in it, brackets too; the time of the
/// start is the twentieth field behind it.
fn command_and_start(stat: &str) -> Option<(&str, u64)> {
    let (_, rest) = stat.split_once('(')?;
    let (command, fields) = rest.rsplit_once(')')?;
    let started = fields.split_whitespace().nth(19)?;
    Some((command, started.parse().ok()?))
}

/// What the runtimes call their namespaces.
fn names(directories: &[PathBuf]) -> BTreeMap<NetnsId, PathBuf> {
    let mut all = BTreeMap::new();
    // One that is not there, or not shown to us, has no names.
    let listed = directories
        .iter()
        .filter_map(|path| fs::read_dir(path).ok());
    for entry in listed.flatten().flatten() {
        let path = entry.path();
        if let Some(id) = id(&path) {
            all.entry(id).or_insert(path);
        }
    }
    all
}

fn netns_of(places: &Whereabouts, pid: u32) -> PathBuf {
    places.proc.join(pid.to_string()).join("ns/net")
}

fn id(path: &Path) -> Option<NetnsId> {
    let file = fs::metadata(path).ok()?;
    Some(NetnsId {
        dev: file.dev(),
        ino: file.ino(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn process(command: &str, started: u64, container: Option<&str>) -> Process {
        Process {
            pid: 7,
            started,
            command: command.into(),
            container: container.map(ToOwned::to_owned),
            netns: NetnsId { dev: 1, ino: 2 },
        }
    }

    #[test]
    fn a_sandbox_is_told_only_beyond_doubt() {
        let known = ["app".to_owned()];
        for (processes, expected) in [
            (
                vec![process("pause", 1, Some("s")), process("x", 2, Some("app"))],
                Some("s"),
            ),
            (vec![process("pod", 1, Some("s"))], Some("s")),
            // Without a process of its own: the oldest is the application's.
            (vec![process("x", 1, Some("new"))], None),
            (vec![process("pause", 1, Some("app"))], None),
            (
                vec![process("x", 1, Some("app")), process("pause", 2, Some("s"))],
                None,
            ),
            (vec![process("pause", 1, None)], None),
            (vec![], None),
        ] {
            let told = sandbox(&processes, &known);
            let told = told.and_then(|process| process.container.as_deref());
            assert_eq!(told, expected, "{processes:?}");
        }
    }

    #[test]
    fn commands_may_look_like_anything() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        for command in ["pause", "a) S 1", "(x", "", "with space"] {
            let stat = format!("17 ({command}) {fields}\n");
            assert_eq!(command_and_start(&stat), Some((command, 4242)));
        }
        assert_eq!(command_and_start("17 (x) S 1"), None);
        assert_eq!(command_and_start(""), None);
    }

    #[test]
    fn a_pod_without_processes_and_a_time_that_is_over_are_said() {
        let root = tempfile::tempdir().unwrap();
        let places = Whereabouts {
            proc: root.path().to_owned(),
            names: vec!["/nowhere".into()],
        };
        let sought = [Sought {
            uid: "u",
            addresses: &[],
            containers: &[],
        }];
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(60);
        let found = locate(&places, &sought, later).unwrap();
        assert!(matches!(found[..], [Err(NotFound::NoProcess)]));
        let found = locate(&places, &sought, now).unwrap();
        assert!(matches!(found[..], [Err(_)]));
        assert!(
            locate(
                &Whereabouts {
                    proc: "/nowhere".into(),
                    ..places
                },
                &sought,
                later
            )
            .is_err()
        );
    }
}
