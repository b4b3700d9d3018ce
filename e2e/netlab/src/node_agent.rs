//! A node's agent: started, killed part by part, succeeded by another, asked.

use crate::agent;
use crate::node::Node;
use crate::parts::{AgentProcess, Part, agent_processes, end_agent_processes};
use crate::process::{Daemon, ProcessId, last_lines};
use crate::wait;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

const KILLED: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(20);

/// The main processes that this lab has started on a node.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    /// The one that serves, or is about to.
    current: Option<Daemon>,
    /// Those that a successor was started beside.
    leaving: Vec<Daemon>,
}

/// The processes on a node when one agent serves it and nothing is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The main process.
    pub holder: ProcessId,
    /// What serves connections.
    pub worker: ProcessId,
}

impl Node {
    fn agents(&self) -> MutexGuard<'_, Agents> {
        self.agents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the agent; it is ready when this returns.
    ///
    /// # Errors
    /// It runs already, ends, or does not become ready: with the end of its log.
    pub fn start_agent(&self) -> Result<ProcessId> {
        let id = self.launch_agent()?;
        self.wait_for_agent()?;
        Ok(id)
    }

    /// Starts the agent and does not wait for anything.
    ///
    /// # Errors
    /// It runs already, or its program cannot be executed.
    pub fn launch_agent(&self) -> Result<ProcessId> {
        let mut agents = self.agents();
        ensure!(
            agents.current.is_none(),
            "the agent on {} runs already",
            self.name
        );
        Ok(agents.current.insert(self.spawn_agent()?).id())
    }

    /// Starts another agent beside the one that runs, which is to leave once this one serves.
    ///
    /// # Errors
    /// None runs, or the program cannot be executed.
    pub fn launch_successor(&self) -> Result<ProcessId> {
        let mut agents = self.agents();
        let former = agents.current.take();
        let former = former.with_context(|| format!("no agent on {}", self.name))?;
        agents.leaving.push(former);
        Ok(agents.current.insert(self.spawn_agent()?).id())
    }

    fn spawn_agent(&self) -> Result<Daemon> {
        let options = self
            .agent_options
            .as_ref()
            .context("this lab has no agents")?;
        agent::start(&options.agent, &self.netns, &self.agent_files)
            .with_context(|| format!("on node {}", self.name))
    }

    /// Waits until the agent says that it is ready.
    ///
    /// # Errors
    /// It ends or does not become ready: with the end of its log.
    pub fn wait_for_agent(&self) -> Result<()> {
        wait::until(
            &format!("the agent on {} is ready", self.name),
            PATIENCE,
            || {
                if let Some(daemon) = &self.agents().current {
                    daemon.check()?;
                }
                agent::ready(&self.netns)
            },
        )
    }

    /// Starts a successor and waits until it has taken over; the former one ends when its connections have.
    ///
    /// # Errors
    /// It does not take over.
    pub fn succeed_agent(&self) -> Result<ProcessId> {
        let mark = self.agent_log_size()?;
        let id = self.launch_successor()?;
        self.wait_until_taken_over(mark)?;
        Ok(id)
    }

    /// Waits until an agent that was started after the log had this size says that it took over from another.
    ///
    /// # Errors
    /// It does not say so, or has ended.
    pub fn wait_until_taken_over(&self, mark: u64) -> Result<()> {
        wait::until(
            &format!("an agent takes over on {}", self.name),
            PATIENCE,
            || {
                if let Some(daemon) = &self.agents().current {
                    daemon.check()?;
                }
                let said = self.agent_log_since(mark)?;
                ensure!(
                    said.contains("took over"),
                    "the log since then:\n{}",
                    last_lines(&said)
                );
                Ok(())
            },
        )
    }

    /// Starts the agent if the newest of its main processes has ended; those beside which it was started, and which have
    /// ended, are forgotten.
    ///
    /// # Errors
    /// Its program cannot be executed.
    pub fn mend_agent(&self) -> Result<()> {
        let mut agents = self.agents();
        agents.leaving.retain(|former| former.check().is_ok());
        let lives = |daemon: &Daemon| daemon.check().is_ok();
        if !agents.current.as_ref().is_some_and(lives) {
            agents.current = Some(self.spawn_agent()?);
        }
        Ok(())
    }

    /// Waits for the end of those that have a successor; how each ended.
    ///
    /// # Errors
    /// One does not end in time.
    pub fn wait_for_former(&self, patience: Duration) -> Result<Vec<ExitStatus>> {
        let former = std::mem::take(&mut self.agents().leaving);
        former.iter().map(|one| one.wait(patience)).collect()
    }

    /// Ends the agent and all its processes: SIGTERM and its drain, or at once with SIGKILL.
    ///
    /// # Errors
    /// It does not run or does not end.
    pub fn end_agent(&self, signal: Signal) -> Result<()> {
        let daemon = self.take_agent()?;
        if signal == Signal::SIGTERM {
            agent::stop(&daemon)?;
            return self.wait_for_no_agent();
        }
        daemon.end(signal, KILLED)?;
        end_agent_processes(Some(self.netns.path()), &self.agent_files.directory, KILLED)
    }

    /// Sends a signal to the main process alone and waits for its end: the others are not told.
    ///
    /// # Errors
    /// It does not run or does not end.
    pub fn end_holder(&self, signal: Signal, patience: Duration) -> Result<ExitStatus> {
        self.take_agent()?.end(signal, patience)
    }

    fn take_agent(&self) -> Result<Daemon> {
        let current = self.agents().current.take();
        current.with_context(|| format!("no agent on {}", self.name))
    }

    fn wait_for_no_agent(&self) -> Result<()> {
        wait::until(&format!("no agent on {}", self.name), PATIENCE, || {
            let left = self.agent_processes()?;
            ensure!(left.is_empty(), "these run: {left:?}");
            Ok(())
        })
    }

    /// Sends a signal to the agent's main process that does not end it (SIGSTOP, SIGCONT).
    ///
    /// # Errors
    /// It does not run.
    pub fn signal_agent(&self, signal: Signal) -> Result<()> {
        self.agents()
            .current
            .as_ref()
            .with_context(|| format!("no agent on {}", self.name))?
            .signal(signal)
    }

    /// The agent's main process, while there is one.
    #[must_use]
    pub fn agent(&self) -> Option<ProcessId> {
        self.agents().current.as_ref().map(Daemon::id)
    }

    /// All processes of agents on this node, whoever started them.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn agent_processes(&self) -> Result<Vec<AgentProcess>> {
        agent_processes(Some(self.netns.path()), &self.agent_files.directory)
    }

    /// Holder and worker, which must be the only ones on this node: nobody is left of an earlier agent.
    ///
    /// # Errors
    /// There are more or fewer.
    pub fn agent_pair(&self) -> Result<Pair> {
        let all = self.agent_processes()?;
        let only = |part| {
            let mut those = all.iter().filter(|one| one.part == part);
            let one = those.next().filter(|_| those.next().is_none());
            one.map(|one| one.id)
                .with_context(|| format!("not one {part:?} on {}: {all:?}", self.name))
        };
        Ok(Pair {
            holder: only(Part::Holder)?,
            worker: only(Part::Worker)?,
        })
    }

    /// Gives the next agent that is started on this node settings of its own, beside the lab's.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_agent_settings(&self, own: &Map<String, Value>) -> Result<()> {
        let options = self
            .agent_options
            .as_ref()
            .context("this lab has no agents")?;
        let mut settings = options.settings.clone();
        settings.extend(own.clone());
        agent::configure(&self.name, &self.agent_files, &self.ca, &settings)
    }

    /// The agent's socket for plugins.
    #[must_use]
    pub fn agent_socket(&self) -> &Path {
        &self.agent_files.socket
    }

    /// The agent's directory of state.
    #[must_use]
    pub fn agent_state(&self) -> &Path {
        &self.agent_files.state
    }

    /// All that the agents on this node have printed.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn agent_log(&self) -> Result<String> {
        let log = &self.agent_files.log;
        let bytes = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// How much that is so far.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn agent_log_size(&self) -> Result<u64> {
        let log = &self.agent_files.log;
        let about =
            std::fs::metadata(log).with_context(|| format!("looking at {}", log.display()))?;
        Ok(about.len())
    }

    /// What they have printed after that.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn agent_log_since(&self, mark: u64) -> Result<String> {
        let log = &self.agent_files.log;
        let mut file = File::open(log).with_context(|| format!("reading {}", log.display()))?;
        file.seek(SeekFrom::Start(mark))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The agent's dump of what it knows.
    ///
    /// # Errors
    /// Its admin endpoint does not answer.
    pub fn agent_dump(&self) -> Result<Value> {
        agent::dump(&self.netns)
    }

    /// The agent's metrics.
    ///
    /// # Errors
    /// Its endpoint does not answer.
    pub fn agent_metrics(&self) -> Result<String> {
        agent::metrics(&self.netns)
    }

    /// A GET on the node's loopback: status and body.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn get(&self, port: u16, path: &str) -> Result<(u16, String)> {
        agent::get(&self.netns, port, path)
    }

    /// Waits until the agent knows these addresses as workloads.
    pub(crate) fn wait_for_workloads(&self, ips: &[IpAddr]) -> Result<()> {
        wait::until(
            &format!("the agent on {} knows the pods", self.name),
            Duration::from_secs(10),
            || {
                let dump = self.agent_dump()?;
                let known: Vec<&str> = dump["workloads"]
                    .as_array()
                    .context("no workloads in the dump")?
                    .iter()
                    .filter_map(|workload| workload["workloadIps"].as_array())
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                let missing: Vec<_> = ips
                    .iter()
                    .filter(|ip| !known.contains(&ip.to_string().as_str()))
                    .collect();
                ensure!(missing.is_empty(), "it does not know {missing:?}");
                Ok(())
            },
        )
    }
}
