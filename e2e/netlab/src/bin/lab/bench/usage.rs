//! What the agents cost, as the kernel counts it: processor time, and memory.

use anyhow::{Context, Result, ensure};
use e2e_netlab::{Lab, Node, Part, ProcessId};
use serde::Serialize;
use std::time::Duration;

/// The kernel's unit of processor time in `/proc`, which is the same on all architectures.
const TICKS_PER_SECOND: u64 = 100;

/// The processor time of all agents up to a moment.
#[derive(Debug)]
pub(super) struct Processor {
    processes: Vec<ProcessId>,
    ticks: u64,
}

impl Processor {
    /// Up to now, of main processes and workers, in both modes.
    pub(super) fn now(lab: &Lab) -> Result<Self> {
        let mut sum = Self {
            processes: Vec::new(),
            ticks: 0,
        };
        for node in lab.nodes() {
            for id in processes(node)? {
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.pid))?;
                sum.ticks += ticks(&stat).context("no times in /proc/PID/stat")?;
                sum.processes.push(id);
            }
        }
        Ok(sum)
    }

    /// Since an earlier moment.
    pub(super) fn since(&self, earlier: &Self) -> Result<Duration> {
        ensure!(
            self.processes == earlier.processes,
            "a process of an agent ended or was started meanwhile: the processor time is not known"
        );
        let ticks = self.ticks.saturating_sub(earlier.ticks);
        Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }
}

/// The main process and its workers, without forks of a moment.
fn processes(node: &Node) -> Result<Vec<ProcessId>> {
    let all = node.agent_processes()?.into_iter();
    let lasting = all.filter(|one| one.part != Part::Hand);
    let mut ids: Vec<ProcessId> = lasting.map(|one| one.id).collect();
    ensure!(!ids.is_empty(), "no agent runs on node {}", node.name());
    ids.sort_by_key(|id| id.pid);
    Ok(ids)
}

/// User and system time in `/proc/PID/stat`; the name, in parentheses, may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Memory in KiB, of all processes of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// Resident; pages that processes share count more than once.
    pub(super) rss: u64,
    /// Resident; shared pages count in part.
    pub(super) pss: u64,
    /// Backed by no file.
    pub(super) anonymous: u64,
}

/// The memory of a node's agent now.
pub(super) fn memory(node: &Node) -> Result<Memory> {
    let mut sum = Memory::default();
    for id in processes(node)? {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", id.pid))?;
        let read = |key: &str| kib(&text, key).with_context(|| format!("no {key} in {text:?}"));
        sum.rss += read("Rss")?;
        sum.pss += read("Pss")?;
        sum.anonymous += read("Anonymous")?;
    }
    Ok(sum)
}

fn kib(rollup: &str, key: &str) -> Option<u64> {
    let mut lines = rollup.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| *name == key)?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 9 0 3 0 250 31 7 8 20 0 5 0 123";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("17 (a) S 1"), None);
    }

    #[test]
    fn other_processes_than_before_give_no_processor_time() {
        let one = |pid, ticks| Processor {
            processes: vec![ProcessId { pid, started: 1 }],
            ticks,
        };
        let spent = one(1, 150).since(&one(1, 100));
        assert_eq!(spent.ok(), Some(Duration::from_millis(500)));
        assert!(one(2, 150).since(&one(1, 100)).is_err());
    }

    #[test]
    fn memory_is_read_by_whole_names() {
        let text = "5581-7ffc ---p 00000000 00:00 0    [rollup]\nRss:   6496 kB\nPss:  3111 kB\n\
                    Pss_Anon: 12 kB\nAnonymous:   1820 kB\n";
        assert_eq!(kib(text, "Rss"), Some(6496));
        assert_eq!(kib(text, "Pss"), Some(3111));
        assert_eq!(kib(text, "Anonymous"), Some(1820));
        assert_eq!(kib(text, "Swap"), None);
    }
}
