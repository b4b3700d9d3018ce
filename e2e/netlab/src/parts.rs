//! The processes that an agent is made of, found by what they execute and where, whoever started them: after a crash, a
//! hand-over or a kill their parent may be anybody.

use crate::netns;
use crate::process::ProcessId;
use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use std::path::Path;
use std::time::{Duration, Instant};

const PROGRAM: &str = "ambient-agent";
const PAUSE: Duration = Duration::from_millis(5);

/// What a process is to its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The main process; today's agents are nothing else.
    Holder,
    /// What serves connections.
    Worker,
    /// A short-lived fork of a holder, at work in some namespace.
    Hand,
}

/// A process of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentProcess {
    /// Which.
    pub id: ProcessId,
    /// Its part.
    pub part: Part,
    /// Its parent.
    pub parent: i32,
}

/// All processes of agents that live in a node's network namespace, if one is given, or were told a file below `directory`.
///
/// # Errors
/// `/proc` cannot be read.
pub fn agent_processes(netns: Option<&Path>, directory: &Path) -> Result<Vec<AgentProcess>> {
    let namespace = netns.and_then(|path| netns::inode(path).ok());
    let mut found = Vec::new();
    for id in ProcessId::all()? {
        if !id.alive() || !executes_agent(id) {
            continue;
        }
        let words = id.command_line();
        let here = namespace.is_some() && namespace == namespace_of(id);
        let told = words
            .iter()
            .any(|word| Path::new(word).starts_with(directory));
        let (true, Some(parent)) = (here || told, id.parent()) else {
            continue;
        };
        found.extend(part_of(&words).map(|part| AgentProcess { id, part, parent }));
    }
    let holders: Vec<i32> = found
        .iter()
        .filter(|one| one.part == Part::Holder)
        .map(|one| one.id.pid)
        .collect();
    for one in &mut found {
        // A fork without a program of its own.
        if one.part == Part::Holder && holders.contains(&one.parent) {
            one.part = Part::Hand;
        }
    }
    Ok(found)
}

/// All processes of agents that descend from a process, such as the first one of a machine.
///
/// # Errors
/// `/proc` cannot be read.
pub fn agent_processes_below(ancestor: ProcessId) -> Result<Vec<AgentProcess>> {
    let mut found = Vec::new();
    for id in ProcessId::all()? {
        if !id.alive() || !executes_agent(id) || !id.descends_from(ancestor) {
            continue;
        }
        if let (Some(part), Some(parent)) = (part_of(&id.command_line()), id.parent()) {
            found.push(AgentProcess { id, part, parent });
        }
    }
    Ok(found)
}

fn part_of(words: &[String]) -> Option<Part> {
    match words.get(1).map(String::as_str) {
        Some("run") => Some(Part::Holder),
        Some("worker") => Some(Part::Worker),
        _ => None,
    }
}

fn executes_agent(id: ProcessId) -> bool {
    let Ok(file) = std::fs::read_link(format!("/proc/{}/exe", id.pid)) else {
        return false;
    };
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    // The kernel adds a word to the name of a program that was replaced.
    name.split(' ').next() == Some(PROGRAM)
}

fn namespace_of(id: ProcessId) -> Option<u64> {
    netns::inode(Path::new(&format!("/proc/{}/ns/net", id.pid))).ok()
}

/// Kills all of them, also those that are started meanwhile by others that are about to die.
///
/// # Errors
/// Some do not end.
pub fn end_agent_processes(
    netns: Option<&Path>,
    directory: &Path,
    patience: Duration,
) -> Result<()> {
    let began = Instant::now();
    loop {
        let mut left = agent_processes(netns, directory)?;
        if left.is_empty() {
            return Ok(());
        }
        ensure!(
            began.elapsed() < patience,
            "these processes of an agent do not end: {left:?}"
        );
        // Holders first: they would start new workers.
        left.sort_by_key(|one| one.part);
        for one in &left {
            one.id.signal(Signal::SIGKILL)?;
        }
        // What a process executes cannot be seen any more once it begins to die, so it would not be found again.
        for one in left {
            one.id
                .wait_for_end(patience.saturating_sub(began.elapsed()))?;
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
