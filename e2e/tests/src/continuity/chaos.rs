//! Everything at random: parts of an agent are killed, stopped and replaced, pods come and go, and whoever does it may die
//! of it as well.

use super::clock::{Blow, now_ms};
use super::dice::Dice;
use super::tenant::Tenant;
use crate::runtime::Network;
use anyhow::{Context, Result, ensure};
use e2e_netlab::wait::until;
use e2e_netlab::{AgentProcess, Lab, Node, Part};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Between two deeds.
const PAUSE: Duration = Duration::from_millis(1_200);
/// How long an agent may be away altogether.
const AWAY: Duration = Duration::from_secs(2);
/// How long an ADD or DEL lives that is killed.
const YOUNG: Duration = Duration::from_millis(25);
/// So long after a worker was stopped its holder has killed it, with the deadline that this test sets.
const HUNG: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(30);

/// What is done to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    KillWorker,
    KillHolder,
    KillAll,
    /// Another agent takes over, and all live.
    Succeed,
    /// Another agent is started, and one of all processes dies meanwhile.
    KillDuringSuccession,
    /// A worker that hangs; its holder is to notice.
    StopWorker,
}

const DEEDS: [Deed; 8] = [
    Deed::KillWorker,
    Deed::KillWorker,
    Deed::KillHolder,
    Deed::KillHolder,
    Deed::KillAll,
    Deed::Succeed,
    Deed::KillDuringSuccession,
    Deed::StopWorker,
];

/// What was done, how often, and when something was killed.
#[derive(Debug, Default)]
pub struct Deeds {
    counts: Mutex<BTreeMap<String, u64>>,
    blows: Mutex<Vec<Blow>>,
}

impl Deeds {
    fn count(&self, what: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what.to_owned()).or_default() += 1;
    }

    fn blow(&self, blow: Blow) {
        let mut blows = self.blows.lock().unwrap_or_else(PoisonError::into_inner);
        blows.push(blow);
    }

    /// All blows so far.
    #[must_use]
    pub fn blows(&self) -> Vec<Blow> {
        let blows = self.blows.lock().unwrap_or_else(PoisonError::into_inner);
        blows.clone()
    }

    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let words = counts
            .iter()
            .map(|(what, count)| format!("{count} x {what}"));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Says that it is over when dropped, also by a panic: nobody would wait for threads that go on for ever.
#[derive(Debug)]
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What goes on at one node until it is over.
#[derive(Clone, Copy, Debug)]
pub struct Chaos<'a> {
    /// The node.
    pub node: &'a Node,
    /// What is done.
    pub deeds: &'a Deeds,
    /// Whether it is.
    pub over: &'a AtomicBool,
}

impl Chaos<'_> {
    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Harms the node's agent again and again; at the end one runs.
    ///
    /// # Errors
    /// An agent cannot be started, or does not recover.
    pub fn harm(&self, mut dice: Dice) -> Result<()> {
        // What happened before the last two deeds is seldom the reason of what happens now.
        let mut marks = [0, 0];
        while self.goes_on() {
            let deed = *dice.pick(&DEEDS);
            self.deeds.count(&format!("{deed:?}"));
            let began = now_ms()?;
            let mark = marks[0];
            marks = [marks[1], self.node.agent_log_size()?];
            self.harm_once(deed, &mut dice).with_context(|| {
                let since = now_ms().unwrap_or_default() - began;
                format!("{deed:?} {since:.0} ms ago{}", self.said(mark))
            })?;
        }
        self.node.mend_agent()
    }

    fn harm_once(&self, deed: Deed, dice: &mut Dice) -> Result<()> {
        self.commit(deed, dice)?;
        thread::sleep(dice.time(PAUSE));
        self.node.mend_agent()?;
        // Now and then the next deed finds the agent where the last one has left it.
        if deed == Deed::StopWorker || dice.below(3) > 0 {
            self.recovered()?;
        }
        Ok(())
    }

    /// What the node's agents have said since their log had this size, but for access lines.
    fn said(&self, mark: u64) -> String {
        let log = self.node.agent_log_since(mark).unwrap_or_default();
        let lines = log.lines().filter(|line| !line.contains("\tconnection "));
        let said = lines.collect::<Vec<_>>().join("\n");
        format!(
            " on {}; meanwhile the agents said:\n{said}\n",
            self.node.name()
        )
    }

    /// Until one holder and one worker serve.
    fn recovered(&self) -> Result<()> {
        until("the agent recovers", PATIENCE, || {
            self.node.mend_agent()?;
            self.node.agent_pair()
        })?;
        self.node.wait_for_agent()
    }

    fn commit(&self, deed: Deed, dice: &mut Dice) -> Result<()> {
        match deed {
            Deed::KillWorker => self.strike(dice, |one| one.part == Part::Worker),
            Deed::KillHolder => {
                self.strike(dice, |one| one.part == Part::Holder)?;
                thread::sleep(dice.time(AWAY / 4));
                Ok(())
            }
            Deed::KillAll => {
                let all = self.node.agent_processes()?;
                let blow = Blow::of(|| {
                    let mut all = all.iter();
                    all.try_for_each(|one| one.id.signal(Signal::SIGKILL))
                })?;
                self.deeds.blow(blow);
                thread::sleep(dice.time(AWAY));
                Ok(())
            }
            Deed::Succeed => {
                self.recovered()?;
                self.node.succeed_agent().map(drop)
            }
            Deed::KillDuringSuccession => {
                self.recovered()?;
                self.node.launch_successor()?;
                thread::sleep(dice.time(AWAY / 10));
                self.strike(dice, |_| true)
            }
            Deed::StopWorker => {
                // Without a holder nobody would notice; the next one asks it in vain and says whom to kill.
                self.recovered()?;
                let all = self.node.agent_processes()?;
                let workers: Vec<_> = all.iter().filter(|one| one.part == Part::Worker).collect();
                if let Some(worker) = workers.first() {
                    // Its holder kills it later, at a moment that is not known here.
                    let blow = Blow::of(|| worker.id.signal(Signal::SIGSTOP))?;
                    let hung = Blow {
                        to_ms: blow.to_ms + 1e3 * HUNG.as_secs_f64(),
                        ..blow
                    };
                    self.deeds.blow(hung);
                }
                Ok(())
            }
        }
    }

    /// Kills one of those processes, if there is one.
    fn strike(&self, dice: &mut Dice, which: impl Fn(&AgentProcess) -> bool) -> Result<()> {
        let mut all = self.node.agent_processes()?;
        all.retain(which);
        if !all.is_empty() {
            self.deeds.blow(Blow::kill(dice.pick(&all).id)?);
        }
        Ok(())
    }

    /// Lets pods come and go; at the end none is left.
    ///
    /// # Errors
    /// One is half in, or leaves something.
    pub fn let_pods_come_and_go(
        &self,
        lab: &Lab,
        network: &Network,
        name: &str,
        mut dice: Dice,
    ) -> Result<()> {
        while self.goes_on() {
            let tenant = Tenant::create(lab, self.node, network, name)?;
            let mark = self.node.agent_log_size()?;
            self.one_pod(&tenant, &mut dice).with_context(|| {
                let log = self.node.agent_log_since(mark).unwrap_or_default();
                let lines = log.lines().filter(|line| !line.contains("\tconnection "));
                let said = lines.collect::<Vec<_>>().join("\n");
                format!(
                    "{name} on {}; meanwhile the agents said:\n{said}",
                    self.node.name()
                )
            })?;
        }
        Ok(())
    }

    fn one_pod(&self, tenant: &Tenant<'_>, dice: &mut Dice) -> Result<()> {
        if dice.below(3) == 0 {
            self.deeds.count("ADD killed");
            kill_young(tenant, "ADD", dice)?;
            // What a runtime does after an ADD of whatever end that is no success.
            tenant.delete()?;
        }
        let admission = tenant.add()?;
        self.deeds.count("ADD");
        for _ in &admission.refused {
            self.deeds.count("ADD refused");
        }
        if dice.below(2) == 0 {
            tenant.is_in()?;
        }
        if dice.below(3) == 0 {
            self.deeds.count("DEL killed");
            kill_young(tenant, "DEL", dice)?;
        }
        tenant.delete()?;
        self.deeds.count("DEL");
        Ok(())
    }
}

fn kill_young(tenant: &Tenant<'_>, verb: &str, dice: &mut Dice) -> Result<()> {
    let mut plugin = tenant.start(verb)?;
    thread::sleep(dice.time(YOUNG));
    // One that was faster is no error.
    drop(plugin.kill());
    plugin.wait()?;
    Ok(())
}

/// How many descriptors an agent has: its holder, its worker, and namespaces among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Of the holder.
    pub holder: usize,
    /// Of the worker.
    pub worker: usize,
    /// Of both, those that are network namespaces.
    pub namespaces: usize,
}

impl Descriptors {
    /// Of a node's agent now.
    ///
    /// # Errors
    /// It is not whole.
    pub fn of(node: &Node) -> Result<Self> {
        let pair = node.agent_pair()?;
        let (holder, worker) = (pair.holder.descriptors()?, pair.worker.descriptors()?);
        let named = |target: &&String| target.starts_with("net:") || target.contains("/netns/");
        let namespaces = holder.iter().chain(&worker).filter(named).count();
        Ok(Self {
            holder: holder.len(),
            worker: worker.len(),
            namespaces,
        })
    }

    /// No more than there were before, but for sockets that a worker may keep ready.
    ///
    /// # Errors
    /// There are more.
    pub fn no_more_than(&self, before: &Self, ready: usize) -> Result<()> {
        let leaked = self.holder > before.holder
            || self.namespaces > before.namespaces
            || self.worker > before.worker + ready;
        ensure!(!leaked, "{self:?}, before {before:?}");
        Ok(())
    }
}
