//! Brings enrolled pods back after a restart of the agent, without the runtime's help.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use node_agent_admin::PendingTask;
use node_agent_enrollment::{
    Event, LeaveReason, Phase, PodKey, PodRecord, Recorded, Snapshot, Stage,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::agent::Agent;
use crate::leave::leave;
use crate::pods::{PodsError, Turn};
use crate::world::{World, WorldError};

/// A pod that waits to be brought back, and the turn that keeps the plugin off it meanwhile.
#[derive(Debug)]
pub(crate) struct Waiting {
    pods: Vec<Recorded>,
    turn: Turn,
}

/// What came of one attempt to bring a pod back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is served again.
    Restored,
    /// It is gone, and forgotten.
    Forgotten,
    /// It is there but could not be served; it is tried again.
    Failed,
}

/// Enters every recorded pod into the table. Must be done before the plugin is listened to, so
/// that a DEL finds the pod it means, and waits until the pod is whole.
pub(crate) async fn enter<W: World>(
    agent: &Agent<W>,
    snapshot: Snapshot,
) -> Result<Vec<Waiting>, PodsError> {
    let mut lanes: BTreeMap<PodKey, Vec<Recorded>> = BTreeMap::new();
    for recorded in snapshot.pods {
        agent.pods.begin_restoring(recorded.clone()).await?;
        agent.world.hold_certificate(&recorded.record);
        // What was on its way in or out drains now; whoever takes running pods in and out sees it.
        if recorded.phase == Phase::Out {
            continue;
        }
        let pod = recorded.record.pod.key();
        lanes.entry(pod).or_default().push(recorded);
    }
    let mut waiting = Vec::with_capacity(lanes.len());
    for (pod, pods) in lanes {
        let Some(first) = pods.first() else {
            continue;
        };
        let attachment = first.record.attachment.clone();
        let turn = agent.pods.turn(attachment, Some(pod)).await?;
        waiting.push(Waiting { pods, turn });
    }
    Ok(waiting)
}

/// Brings the pods back, many at a time; done when each was tried once. Those that failed are
/// tried again for as long as this future is polled.
pub(crate) async fn restore<W: World>(
    agent: Arc<Agent<W>>,
    waiting: Vec<Waiting>,
    pending: PendingTask,
) {
    let (began, count) = (
        Instant::now(),
        waiting.iter().map(|pod| pod.pods.len()).sum(),
    );
    let mut failed = first_pass(&agent, waiting).await;
    pending.done();
    report(began, count, failed.len());
    let mut pause = RETRY_FIRST;
    while !failed.is_empty() {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MOST);
        let _acting = agent.activity.act().await;
        failed = again(&agent, failed).await;
    }
}

async fn first_pass<W: World>(agent: &Arc<Agent<W>>, waiting: Vec<Waiting>) -> Vec<Recorded> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut lanes = JoinSet::new();
    for Waiting { pods, turn } in waiting {
        let (agent, places) = (Arc::clone(agent), Arc::clone(&places));
        lanes.spawn(async move {
            let _acting = agent.activity.act().await;
            // The semaphore is never closed, so the place is always given.
            let _place = places.acquire().await;
            let mut failed = Vec::new();
            for pod in pods {
                if bring_back(&agent, &pod).await == Outcome::Failed {
                    failed.push(pod);
                }
            }
            drop(turn);
            failed
        });
    }
    let mut failed = Vec::new();
    while let Some(outcome) = lanes.join_next().await {
        match outcome {
            Ok(some) => failed.extend(some),
            Err(error) => tracing::error!(%error, "restoring a pod ended in a panic"),
        }
    }
    failed
}

async fn again<W: World>(agent: &Agent<W>, failed: Vec<Recorded>) -> Vec<Recorded> {
    let mut still = Vec::new();
    for pod in failed {
        let record = &pod.record;
        let key = &record.attachment;
        let Ok(_turn) = agent.pods.turn(key.clone(), Some(record.pod.key())).await else {
            return Vec::new();
        };
        // Meanwhile the runtime may have deleted it, or added it anew.
        let entry = agent.pods.get(key).await.ok().flatten();
        let waits = entry.is_some_and(|e| e.stage == Stage::Restoring && e.record == *record);
        if waits && bring_back(agent, &pod).await == Outcome::Failed {
            still.push(pod);
        }
    }
    still
}

async fn bring_back<W: World>(agent: &Agent<W>, pod: &Recorded) -> Outcome {
    let record = &pod.record;
    match attempt(agent, pod).await {
        Ok(Attempt::Served { drift }) => {
            if !drift.is_empty() {
                tracing::warn!(
                    pod = %record.pod, ?drift,
                    "the pod's redirect rules had changed while the agent was away; repaired"
                );
            }
            tracing::info!(pod = %record.pod, "pod restored");
            Outcome::Restored
        }
        Ok(Attempt::Gone { netns, why }) => {
            tracing::info!(pod = %record.pod, why, "pod went away while the agent was away");
            let reason = if netns.is_some() {
                LeaveReason::Deleted
            } else {
                LeaveReason::NamespaceGone
            };
            leave(agent, record, reason, netns, STEP_BUDGET).await;
            Outcome::Forgotten
        }
        Err(error) => {
            tracing::error!(
                %error, pod = %record.pod,
                "cannot restore the pod; its mesh traffic is refused until this succeeds"
            );
            Outcome::Failed
        }
    }
}

/// What was found where the pod should be.
enum Attempt {
    /// The pod, which is served now.
    Served { drift: Vec<String> },
    /// Not the pod; the namespace is given if it is still the pod's and rules may be taken out.
    Gone {
        netns: Option<Arc<OwnedFd>>,
        why: &'static str,
    },
}

async fn attempt<W: World>(agent: &Agent<W>, pod: &Recorded) -> Result<Attempt, WorldError> {
    let record = &pod.record;
    let Some(path) = record.netns.as_deref() else {
        return Err(WorldError::lasting(
            "its network namespace has no path that the agent can see; delete and re-create the pod",
        ));
    };
    let gone = |netns, why| Ok(Attempt::Gone { netns, why });
    let Some(netns) = agent.world.open(path).await? else {
        return gone(None, "its network namespace is gone");
    };
    if agent.world.identify(&netns)? != record.namespace_id {
        return gone(None, "its network namespace is another one now");
    }
    let until = Instant::now() + STEP_BUDGET;
    if has_lost_its_addresses(agent, record, &netns).await? {
        // A link that is down loses IPv6 addresses too, so a pod may be alive in there. Without
        // listeners its rules let nothing out; without rules all it says would leave in clear.
        return gone(
            None,
            "none of its addresses is left; should it still run, its rules let nothing out until it is re-created",
        );
    }
    if was_never_admitted(agent, pod, &netns, until).await? {
        return gone(Some(netns), "it was never admitted");
    }
    let theirs = netns.try_clone().map_err(WorldError::passing)?;
    agent.world.open_listeners(record, theirs).await?;
    let drift = agent.world.repair_rules(record, netns, until).await?;
    let restored = agent.pods.advance(&record.attachment, Event::Restored);
    restored.await.map_err(WorldError::passing)?;
    Ok(Attempt::Served { drift })
}

/// Whether the namespace, although it is the same, has none of the addresses that the pod had.
pub(crate) async fn has_lost_its_addresses<W: World>(
    agent: &Agent<W>,
    record: &PodRecord,
    netns: &Arc<OwnedFd>,
) -> Result<bool, WorldError> {
    let present = agent.world.addresses(Arc::clone(netns)).await?;
    let known = &record.addresses;
    Ok(!known.is_empty() && !known.iter().any(|address| present.contains(address)))
}

async fn was_never_admitted<W: World>(
    agent: &Agent<W>,
    pod: &Recorded,
    netns: &Arc<OwnedFd>,
    until: Instant,
) -> Result<bool, WorldError> {
    if pod.admitted {
        return Ok(false);
    }
    // The plugin takes its rules out when it does not hear of its success, so whole rules mean
    // that it did hear.
    let drift = agent
        .world
        .check_rules(&pod.record, Arc::clone(netns), until)
        .await?;
    Ok(!drift.is_empty())
}

fn report(began: Instant, count: usize, failed: usize) {
    let took_ms = u64::try_from(began.elapsed().as_millis()).ok();
    if failed == 0 {
        tracing::info!(pods = count, took_ms, "restored enrolled pods");
    } else {
        tracing::error!(
            pods = count,
            failed,
            took_ms,
            "restored enrolled pods, but not all"
        );
    }
}

const AT_ONCE: usize = 32;
const STEP_BUDGET: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
