//! The node's own namespace, in which one chain is ours: it exempts the node's probes of enrolled pods.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::stat::fstat;
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};
use node_agent_redirect::{Backend, Drift, Exemption, Family, backend_of_the_node};

use crate::addresses::{Ipv6, ipv6_here};
use crate::apply::start_restore;
use crate::enter::{EnterError, enter_descriptor};
use crate::netns::NetnsId;
use crate::process::{Job, Running, ToolError, wait};
use crate::residue::Residue;
use crate::tools::{self, Purpose};

/// Others may change the node's rules between our looking and writing; then we look again.
const ATTEMPTS: usize = 3;
/// What every tool on a node locks.
const LOCK: &str = "run/xtables.lock";
const OWN_PROC: &str = "/proc";

/// Why the node's probes are not exempt.
#[derive(thiserror::Error, Debug)]
pub enum NodeError {
    /// The namespace cannot be opened. The agent's own is not taken in its stead: in a pod it is the
    /// pod's.
    #[error(
        "cannot open the node's network namespace {path}: {source}; mount the host's /proc there (procDir) and \
         give the agent SYS_PTRACE"
    )]
    Open {
        /// Where it should be.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is no namespace.
    #[error("{path} is no network namespace: procDir is not the host's /proc")]
    NotANamespace {
        /// Where it should be.
        path: PathBuf,
    },
    /// It cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// What is in it cannot be seen.
    #[error("cannot see what the node's namespace holds: {0}")]
    Look(#[source] io::Error),
    /// The tools failed.
    #[error("the node's packet rules: {0}")]
    Rules(#[source] ToolError),
}

/// The node's network namespace.
#[derive(Debug)]
struct Node {
    /// Nothing if it is that of this process.
    other: Option<(OwnedFd, NetnsId)>,
    lock: PathBuf,
}

impl Node {
    /// The namespace of the first process of the host, if its `/proc` is shown to us somewhere; without
    /// that the agent runs on the host itself, and the namespace is its own.
    fn of(proc: &Path) -> Result<Self, NodeError> {
        if proc == Path::new(OWN_PROC) {
            let lock = Path::new("/").join(LOCK);
            return Ok(Self { other: None, lock });
        }
        let path = proc.join("1/ns/net");
        let opened = File::open(&path).and_then(|file| {
            let kind = fstatfs(&file).map_err(io::Error::from)?;
            let status = fstat(&file).map_err(io::Error::from)?;
            Ok((file, kind.filesystem_type() == NSFS_MAGIC, status))
        });
        let (file, is_namespace, status) = match opened {
            Ok(opened) => opened,
            Err(source) => return Err(NodeError::Open { path, source }),
        };
        if !is_namespace {
            return Err(NodeError::NotANamespace { path });
        }
        let id = NetnsId {
            dev: status.st_dev,
            ino: status.st_ino,
        };
        let own = std::fs::metadata("/proc/self/ns/net").map_err(NodeError::Look)?;
        let is_own = (own.dev(), own.ino()) == (id.dev, id.ino);
        Ok(Self {
            other: (!is_own).then(|| (file.into(), id)),
            // Of the host, which the tools on it lock too.
            lock: proc.join("1/root").join(LOCK),
        })
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, EnterError> {
        match &self.other {
            Some((ns, id)) => enter_descriptor(ns.as_fd(), *id, work),
            None => Ok(work()),
        }
    }
}

/// What is wanted of the node's namespace.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Whom the node's connections reach without policy.
    pub exemption: &'a Exemption,
    /// What we wanted before, if anything. If it is the same, the kernel is looked at, and what others
    /// changed is put right; if not, only the difference is written, unless the kernel refuses it.
    pub before: Option<&'a Exemption>,
    /// Where the rules are to be; found out if it is not said.
    pub backend: Option<Backend>,
    /// Where they are to be if nothing in the namespace says it.
    pub otherwise: Backend,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exempted {
    /// Where the rules are.
    pub backend: Backend,
    /// How what was there differed from what we had wanted before.
    pub changed: Vec<Drift>,
}

/// Brings the chain in the node's namespace to what is wanted, in one transaction per family, and, when
/// it looks, takes it out of the other backend. What is right already is not touched, and rules of others never are.
/// `proc` is the host's `/proc` as it is seen here.
///
/// # Errors
/// Says why not; a family that does not work does not keep the other from being brought.
pub fn exempt(proc: &Path, wanted: &Wanted<'_>, deadline: Instant) -> Result<Exempted, NodeError> {
    let node = Node::of(proc)?;
    node.inside(|| exempt_here(&node, wanted, deadline))?
}

fn exempt_here(node: &Node, wanted: &Wanted<'_>, deadline: Instant) -> Result<Exempted, NodeError> {
    let tools = Tools { node, deadline };
    let backend = match wanted.backend {
        Some(backend) => backend,
        None => tools.find_backend(wanted.otherwise)?,
    };
    let ipv6 = ipv6_here().map_err(NodeError::Look)?;
    let here = |exemption: &Exemption| match ipv6 {
        Ipv6::None => exemption.without(Family::V6),
        _ => exemption.clone(),
    };
    let (goal, before) = (here(wanted.exemption), wanted.before.map(here));
    if let (Some(before), Some(backend)) = (&before, wanted.backend)
        && *before != goal
        && tools.bring_after(before, &goal, backend).is_ok()
    {
        let changed = Vec::new();
        return Ok(Exempted { backend, changed });
    }
    let mut changed = None;
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        let shown = tools.show_nat(backend)?;
        if changed.is_none() {
            let drift = before.as_ref().map(|before| drift(before, backend, &shown));
            changed = Some(drift.unwrap_or_default());
        }
        outcome = tools.bring(&goal, backend, &shown);
        if outcome.is_ok() {
            break;
        }
    }
    outcome?;
    let changed = changed.unwrap_or_default();
    Ok(Exempted { backend, changed })
}

/// How everything that is shown differs from what should be in this backend, and nothing in the other.
fn drift(exemption: &Exemption, backend: Backend, shown: &[Dump]) -> Vec<Drift> {
    let mut drift = Vec::new();
    for family in FAMILIES {
        drift.extend(exemption.drift(family, text_of(shown, backend, family)));
        let elsewhere = text_of(shown, backend.other(), family);
        if !Exemption::default().drift(family, elsewhere).is_empty() {
            let backend = backend.other();
            drift.push(Drift::OtherBackend { family, backend });
        }
    }
    drift
}

/// What the tools show of one of the node's tables, or are to put into it.
type Dump = (Backend, Family, String);

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn text_of(shown: &[Dump], backend: Backend, family: Family) -> &str {
    let mut of_it = shown
        .iter()
        .filter(|(b, f, _)| (*b, *f) == (backend, family));
    of_it.next().map_or("", |(_, _, text)| text)
}

/// The packet filter's tools, in the node's namespace.
struct Tools<'a> {
    node: &'a Node,
    deadline: Instant,
}

impl Tools<'_> {
    /// Looks only at tables that are there, so that looking leaves none behind.
    fn find_backend(&self, otherwise: Backend) -> Result<Backend, NodeError> {
        let residue = Residue::look().map_err(NodeError::Look)?;
        let dumps = self.show(residue.iter(), &[], None)?;
        let dumps: Vec<(Backend, String)> = dumps
            .into_iter()
            .map(|(backend, _, text)| (backend, text))
            .collect();
        Ok(backend_of_the_node(&dumps, otherwise))
    }

    fn show_nat(&self, needed: Backend) -> Result<Vec<Dump>, NodeError> {
        let residue = Residue::look().map_err(NodeError::Look)?;
        self.show(residue.with_table("nat"), &["-t", "nat"], Some(needed))
    }

    /// A backend whose tools are not here holds nothing of ours; only the one that is needed must have
    /// them.
    fn show(
        &self,
        which: impl Iterator<Item = (Backend, Family)>,
        arguments: &[&str],
        needed: Option<Backend>,
    ) -> Result<Vec<Dump>, NodeError> {
        let (mut asked, mut running) = (Vec::new(), Vec::new());
        for (backend, family) in which {
            let program = match tools::find(backend, family, Purpose::Save) {
                Err(ToolError::Missing { .. }) if needed != Some(backend) => continue,
                found => found.map_err(NodeError::Rules)?,
            };
            let job = Job {
                tool: tools::name(backend, family, Purpose::Save),
                program,
                arguments: arguments.iter().map(ToString::to_string).collect(),
                input: String::new(),
                lock: self.node.lock.clone(),
            };
            running.push(Running::start(job).map_err(NodeError::Rules)?);
            asked.push((backend, family));
        }
        let answers = wait(running, self.deadline).into_iter();
        let dumps = asked.into_iter().zip(answers);
        dumps
            .map(|((backend, family), text)| Ok((backend, family, text.map_err(NodeError::Rules)?)))
            .collect()
    }

    fn bring(&self, goal: &Exemption, backend: Backend, shown: &[Dump]) -> Result<(), NodeError> {
        let nothing = Exemption::default();
        let mut texts = Vec::new();
        for family in FAMILIES {
            for (at, wanted) in [(backend, goal), (backend.other(), &nothing)] {
                let text = wanted.render(family, text_of(shown, at, family));
                texts.extend(text.map(|text| (at, family, text)));
            }
        }
        self.restore(texts)
    }

    fn bring_after(
        &self,
        before: &Exemption,
        goal: &Exemption,
        backend: Backend,
    ) -> Result<(), NodeError> {
        let text = |family| Some((backend, family, goal.render_after(family, before)?));
        self.restore(FAMILIES.into_iter().filter_map(text).collect())
    }

    /// One that is refused does not keep the others from being written.
    fn restore(&self, texts: Vec<Dump>) -> Result<(), NodeError> {
        let (mut running, mut refused) = (Vec::new(), Ok(()));
        for (at, family, text) in texts {
            match start_restore(at, family, text, &self.node.lock, self.deadline) {
                Ok(started) => running.push(started),
                Err(error) => refused = Err(NodeError::Rules(error)),
            }
        }
        for answer in wait(running, self.deadline) {
            if let Err(error) = answer {
                refused = Err(NodeError::Rules(error));
            }
        }
        refused
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_agents_own_namespace_is_not_taken_for_a_node_that_cannot_be_seen() {
        let root = tempfile::tempdir().unwrap();
        let error = Node::of(root.path()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("1/ns/net") && text.contains("SYS_PTRACE"),
            "{text}"
        );
        std::fs::create_dir_all(root.path().join("1/ns")).unwrap();
        std::fs::write(root.path().join("1/ns/net"), "").unwrap();
        let error = Node::of(root.path()).unwrap_err();
        assert!(matches!(error, NodeError::NotANamespace { .. }), "{error}");
    }

    #[test]
    fn the_node_is_this_process_s_only_if_its_proc_is() {
        let node = Node::of(Path::new("/proc")).unwrap();
        assert!(node.other.is_none());
        assert_eq!(node.lock, Path::new("/run/xtables.lock"));
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("1/ns")).unwrap();
        std::os::unix::fs::symlink("/proc/self/ns/net", root.path().join("1/ns/net")).unwrap();
        let node = Node::of(root.path()).unwrap();
        assert!(node.other.is_none());
        assert_eq!(node.lock, root.path().join("1/root/run/xtables.lock"));
    }
}
