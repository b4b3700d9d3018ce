//! What may happen to parts of a cluster: they hang, are killed, or go away for a while.

use crate::machine::Machine;
use crate::node::Node;
use anyhow::{Context, Result, ensure};
use e2e_netlab::{AgentProcess, Part, ProcessId, agent_processes_below};
use nix::sys::signal::Signal;

impl Node {
    /// The processes of the agents on this node.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn agents(&self) -> Result<Vec<AgentProcess>> {
        agent_processes_below(self.machine().init())
    }

    /// Kills one part of its agent.
    ///
    /// # Errors
    /// It has none, or more than one.
    pub fn kill_agent(&self, part: Part) -> Result<()> {
        let all = self.agents()?;
        let wanted: Vec<_> = all.iter().filter(|one| one.part == part).collect();
        ensure!(wanted.len() == 1, "{part:?} of {}: {all:?}", self.name());
        wanted.first().context("one")?.id.signal(Signal::SIGKILL)
    }
}

impl Machine {
    /// Sends a signal to a program that was started on it by its name: SIGSTOP lets it hang.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&self, program: &str, signal: Signal) -> Result<()> {
        let ids = ProcessId::all()?;
        let executes = |id: &ProcessId| {
            let words = id.command_line();
            let name = words
                .first()
                .map(|word| word.rsplit('/').next().unwrap_or(word).to_owned());
            name.as_deref() == Some(program)
        };
        let mut ours = ids
            .into_iter()
            .filter(|id| id.parent().is_some_and(|parent| self.started(parent)))
            .filter(executes);
        let id = ours
            .next()
            .with_context(|| format!("{program} does not run on {}", self.name()))?;
        id.signal(signal)?;
        if signal == Signal::SIGCONT {
            self.wake();
        }
        Ok(())
    }

    /// Kills a program that was started on it by its name; it is missed by nobody and may be started again.
    ///
    /// # Errors
    /// It does not run, or does not end.
    pub(crate) fn kill(&self, program: &str) -> Result<()> {
        self.signal(program, Signal::SIGKILL)?;
        self.forget(program)
    }
}
