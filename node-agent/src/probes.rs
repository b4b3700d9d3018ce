//! Keeps the node's own connections to enrolled pods, the kubelet's probes among them, from being
//! captured: they would come in clear, and a strict policy would refuse them.
//!
//! Whenever the set of addresses changes, the chain in the node's namespace is written anew from the
//! table of pods; on a timer it is compared with that, and others' changes are put right. The chain that
//! a former agent left stays until the whole set is known, which it is once every recorded pod is in the
//! table.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use node_agent_enrollment::{Entry, PodRecord};
use node_agent_redirect::{Backend, Exemption, RedirectPlan};
use serde::Deserialize as _;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until, timeout};
use tunnel_telemetry::Counter;

use crate::activity::Activity;
use crate::agent::Agent;
use crate::pods::View;
use crate::repairs::Repair;
use crate::world::{World, WorldError};

/// How it stands with the exemption; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Probes {
    /// Nothing if nobody keeps one.
    now: watch::Sender<Option<Exempted>>,
    repairs: Counter,
    /// Pauses by itself: whoever pauses the rest waits for pods on their way in, and they for this.
    pub(crate) activity: Activity,
}

/// What came of the last attempt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Exempted {
    /// What was wanted.
    pub(crate) tried: Exemption,
    /// Where the rules are, once they are.
    pub(crate) backend: Option<Backend>,
    /// Why it is not so.
    pub(crate) problem: Option<String>,
    /// What others changed.
    pub(crate) repair: Option<Repair>,
}

impl Probes {
    /// Counts repairs with this.
    pub(crate) fn counting(repairs: Counter) -> Self {
        Self {
            repairs,
            ..Self::default()
        }
    }

    /// How it stands, if anybody keeps one.
    pub(crate) fn now(&self) -> Option<Exempted> {
        self.now.borrow().clone()
    }

    /// Waits until a pod is exempt, or could not be made so, or the time is up: a running pod is
    /// taken in all the same.
    pub(crate) async fn cover(&self, record: &PodRecord, limit: Duration) {
        let mut now = self.now.subscribe();
        let covered = now.wait_for(|now| {
            let tried = now.as_ref().map(|now| &now.tried);
            tried.is_none_or(|tried| tried.covers(exempt_of(record).into_iter()))
        });
        if timeout(limit.min(PATIENCE), covered).await.is_err() {
            tracing::warn!(
                pod = %record.pod,
                "the pod is captured before the node's probes of it are exempt from policy; the node may be overloaded"
            );
        }
    }
}

/// Keeps the exemption for as long as it is polled. To be begun when every recorded pod is in the table.
pub(crate) async fn keep<W: World>(agent: Arc<Agent<W>>) {
    let mut table = agent.pods.changes();
    let mut keeper = Keeper::default();
    loop {
        let wanted = wanted(&table.borrow_and_update());
        let acting = agent.probes.activity.act().await;
        keeper.bring(&agent, wanted).await;
        drop(acting);
        // Pods that come together are exempt together; a container starts later than this.
        sleep(PAUSE).await;
        keeper.until_due(&mut table).await;
    }
}

/// The addresses of all pods that capture what comes in, or are about to.
fn wanted(table: &[Entry]) -> Exemption {
    let captured = table.iter().filter(|entry| entry.stage.is_captured());
    captured
        .flat_map(|entry| exempt_of(&entry.record))
        .collect()
}

fn exempt_of(record: &PodRecord) -> Vec<IpAddr> {
    // A plan that cannot be read captures nothing that we know of.
    let plan = RedirectPlan::deserialize(&record.plan);
    plan.map_or_else(
        |_| Vec::new(),
        |plan| plan.exempt(&record.addresses).collect(),
    )
}

#[derive(Default)]
struct Keeper {
    now: Exempted,
    /// What was put in force last.
    in_force: Option<Exemption>,
    /// When the kernel was last compared with it, in the runtime's time.
    looked: Option<tokio::time::Instant>,
}

impl Keeper {
    /// Until the set changes or the kernel has to be looked at, whichever is first.
    async fn until_due(&self, table: &mut watch::Receiver<View>) {
        let changed = async {
            // Changed already while it was being written, perhaps.
            while wanted(&table.borrow_and_update()) == self.now.tried {
                // Without an owner of the table there is nothing to keep.
                if table.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let look = async {
            match self.looked {
                Some(looked) => sleep_until(looked + LOOK).await,
                None => sleep(LOOK).await,
            }
        };
        tokio::select! {
            // The ADD that is the reason of it, and the runtime waits for, comes first.
            () = changed => sleep(SETTLE).await,
            () = look => {}
        }
    }

    async fn bring<W: World>(&mut self, agent: &Agent<W>, wanted: Exemption) {
        let until = Instant::now() + BUDGET;
        let before = self.in_force.as_ref();
        if before.is_none_or(|before| *before == wanted) {
            self.looked = Some(tokio::time::Instant::now());
        }
        let outcome = agent.world.exempt(&wanted, before, until).await;
        match outcome {
            Ok((backend, changed)) => {
                self.note(agent, &wanted, backend, changed);
                self.in_force = Some(wanted.clone());
            }
            Err(error) => {
                // A part of it may be in force, which would look like somebody else's doing.
                self.in_force = None;
                self.fail(&error);
            }
        }
        self.now.tried = wanted;
        agent.probes.now.send_replace(Some(self.now.clone()));
    }

    fn note<W>(
        &mut self,
        agent: &Agent<W>,
        wanted: &Exemption,
        backend: Backend,
        changed: Vec<String>,
    ) {
        let addresses = wanted.len();
        let first = self.in_force.is_none() || self.now.problem.is_some();
        if !changed.is_empty() {
            tracing::warn!(
                ?changed, %backend, addresses,
                "somebody changed the node's packet rules that exempt its probes of enrolled pods; repaired"
            );
            agent.probes.repairs.increment();
            let before = self.now.repair.take();
            self.now.repair = Some(Repair::after(before, SystemTime::now(), changed));
        } else if first {
            tracing::info!(%backend, addresses, "the node's probes of enrolled pods are exempt from policy");
        } else {
            tracing::debug!(%backend, addresses, "the node's probes are exempt");
        }
        self.now.backend = Some(backend);
        self.now.problem = None;
    }

    fn fail(&mut self, error: &WorldError) {
        let problem = error.to_string();
        // Once is enough; the admin interface shows it for as long as it lasts.
        if self.now.problem.as_ref() != Some(&problem) {
            tracing::error!(
                problem,
                "the node's probes of enrolled pods are subject to policy, and fail where it is strict"
            );
        }
        self.now.problem = Some(problem);
    }
}

/// Others' tools flush the node's rules at any time; a kubelet gives a pod up after three failed probes,
/// ten seconds apart unless told otherwise.
const LOOK: Duration = Duration::from_secs(10);
/// Between two changes of the chain, each of which runs the packet filter's tools.
const PAUSE: Duration = Duration::from_millis(500);
/// An ADD takes less than this, and a container starts later.
const SETTLE: Duration = Duration::from_millis(25);
/// Bringing the rules takes no longer.
const BUDGET: Duration = Duration::from_secs(10);
/// Nobody waits longer for it.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests;
