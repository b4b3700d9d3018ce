//! What the agents cost, as the kernel counts it: processor time, and memory.

use anyhow::{Result, ensure};
use e2e_netlab::usage::{Memory, processor_time};
use e2e_netlab::{Lab, Node, Part, ProcessId};
use std::time::Duration;

/// The processor time of all agents up to a moment.
#[derive(Debug)]
pub(super) struct Processor {
    processes: Vec<ProcessId>,
    time: Duration,
}

impl Processor {
    /// Up to now, of main processes and workers, in both modes.
    pub(super) fn now(lab: &Lab) -> Result<Self> {
        let mut sum = Self {
            processes: Vec::new(),
            time: Duration::ZERO,
        };
        for node in lab.nodes() {
            for id in processes(node)? {
                sum.time += processor_time(id)?;
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
        Ok(self.time.saturating_sub(earlier.time))
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

/// The memory of a node's agent now, all its processes together.
pub(super) fn memory(node: &Node) -> Result<Memory> {
    let mut sum = Memory::default();
    for id in processes(node)? {
        let one = Memory::of(id)?;
        sum.rss += one.rss;
        sum.pss += one.pss;
        sum.anonymous += one.anonymous;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_processes_than_before_give_no_processor_time() {
        let one = |pid, ticks: u64| Processor {
            processes: vec![ProcessId { pid, started: 1 }],
            time: Duration::from_millis(ticks * 10),
        };
        let spent = one(1, 150).since(&one(1, 100));
        assert_eq!(spent.ok(), Some(Duration::from_millis(500)));
        assert!(one(2, 150).since(&one(1, 100)).is_err());
    }
}
