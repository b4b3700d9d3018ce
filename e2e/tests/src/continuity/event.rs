//! What befalls an agent.

use super::clock::{Blow, GONE};
use crate::until;
use anyhow::{Context, Result, ensure};
use e2e_netlab::{AgentProcess, Node, Part};
use nix::sys::signal::Signal;
use std::thread;
use std::time::Duration;

/// A process that takes part in an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The holder that hands over.
    FormerHolder,
    /// Its worker.
    FormerWorker,
    /// The holder that takes over.
    NextHolder,
    /// Its worker.
    NextWorker,
}

/// Something that befalls the agent of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its worker is killed; the holder is to start another.
    WorkerKilled,
    /// Its holder is killed, and the agent started again at once.
    HolderKilled,
    /// All of it is killed, and started again so much later.
    AllKilled(Duration),
    /// Another agent is started beside it and takes over.
    Succeeded,
    /// Another agent is started beside it, and this one is killed while its worker prepares to serve.
    DiedInSuccession(Party),
    /// It is asked to end and serves on without its main process; another is started and takes over.
    Replaced,
}

impl Event {
    /// Lets it happen. The next agent is on its way, or has taken over, when this returns.
    ///
    /// # Errors
    /// The agent is not whole before, or does not do what is asked of it.
    pub fn befall(self, node: &Node) -> Result<Vec<Blow>> {
        match self {
            Self::WorkerKilled => Ok(vec![Blow::kill(node.agent_pair()?.worker)?]),
            Self::HolderKilled => {
                let blow = Blow::of(|| node.end_holder(Signal::SIGKILL, GONE))?;
                node.launch_agent()?;
                Ok(vec![blow])
            }
            Self::AllKilled(away) => {
                let blow = Blow::of(|| node.end_agent(Signal::SIGKILL))?;
                thread::sleep(away);
                node.launch_agent()?;
                Ok(vec![blow])
            }
            Self::Succeeded => {
                node.succeed_agent()?;
                Ok(Vec::new())
            }
            Self::DiedInSuccession(party) => die_in_succession(node, party).map(|blow| vec![blow]),
            Self::Replaced => {
                let mark = node.agent_log_size()?;
                let status = node.end_holder(Signal::SIGTERM, GONE)?;
                ensure!(status.success(), "the main process: {status}");
                node.launch_agent()?;
                node.wait_until_taken_over(mark)?;
                Ok(Vec::new())
            }
        }
    }
}

fn die_in_succession(node: &Node, party: Party) -> Result<Blow> {
    let (former, mark) = (node.agent_pair()?, node.agent_log_size()?);
    let next = node.launch_successor()?;
    let worker = until("the next worker is started", || {
        let all = node.agent_processes()?;
        let its = |one: &&AgentProcess| one.part == Part::Worker && one.parent == next.pid;
        let worker = all.iter().find(its);
        worker.map(|one| one.id).context("there is none")
    })?;
    let blow = Blow::kill(match party {
        Party::FormerHolder => former.holder,
        Party::FormerWorker => former.worker,
        Party::NextHolder => next,
        Party::NextWorker => worker,
    })?;
    if party == Party::NextHolder {
        // The former one goes on, and is succeeded by a later attempt: whoever comes too early is sent away.
        until("another one takes over", || {
            node.mend_agent()?;
            ensure!(
                node.agent_log_since(mark)?.contains("took over"),
                "nobody does"
            );
            Ok(())
        })?;
    }
    Ok(blow)
}
