//! Takes one running pod out: nothing new is captured, what was captured goes on to its end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant};

use node_agent_enrollment::{AttachmentKey, Decision, Entry, Event, LeaveReason, PodRecord, Stage};
use node_agent_redirect::RedirectPlan;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::failure::Failure;
use super::join::{BUDGET, rejoin};
use crate::agent::Agent;
use crate::leave::leave;
use crate::restore::has_lost_its_addresses;
use crate::world::World;

/// How it ended.
pub(super) enum OutEnd {
    /// The pod is out, or somebody else took it out, or nobody wants it out any more.
    Out,
    /// It was wanted back, and is in again.
    Rejoined,
    /// It was wanted back, but could not be captured; it drains.
    NotRejoined(Failure),
    /// It could not be taken out.
    Failed(Failure),
}

/// Takes a pod out, or back in if the roster changes its mind; not before `rejoin_after`, because
/// that was tried already.
pub(super) async fn out<W: World>(
    agent: &Agent<W>,
    key: &AttachmentKey,
    places: &Semaphore,
    rejoin_after: Instant,
) -> OutEnd {
    let place = places.acquire().await;
    let acting = agent.activity.act().await;
    let quiet = quieten(agent, key).await;
    drop((place, acting));
    let (record, netns) = match quiet {
        Ok(Some(draining)) => draining,
        Ok(None) => return OutEnd::Out,
        Err(failure) => return OutEnd::Failed(failure),
    };
    let drain = Drain {
        agent,
        record,
        netns,
        places,
        rejoin_after,
    };
    drain.complete().await
}

/// Stops capture of anything new. `None` when there is nothing left to do.
async fn quieten<W: World>(
    agent: &Agent<W>,
    key: &AttachmentKey,
) -> Result<Option<(Arc<PodRecord>, Arc<OwnedFd>)>, Failure> {
    let _turn = agent.pods.turn(key.clone(), None).await?;
    let Some(Entry { record, stage, .. }) = agent.pods.get(key).await? else {
        return Ok(None);
    };
    let reason = match (&stage, agent.decide(&record.pod)) {
        (Stage::Enrolled(_), Decision::NotInMesh { reason }) => reason,
        (Stage::Draining, _) => "it was on its way in or out".to_owned(),
        _ => return Ok(None),
    };
    let Some(netns) = its_namespace(agent, &record).await? else {
        leave(agent, &record, LeaveReason::NamespaceGone, None, BUDGET).await;
        return Ok(None);
    };
    let lost = has_lost_its_addresses(agent, &record, &netns).await;
    if lost.map_err(Failure::Namespace)? {
        return Err(Failure::LostAddresses);
    }
    let plan: RedirectPlan = serde_json::from_value(record.plan.clone())?;
    let quiet = plan.capturing_nothing_new();
    let until = StdInstant::now() + BUDGET;
    let applied = agent
        .world
        .apply_rules(quiet.clone(), Arc::clone(&netns), until);
    applied.await.map_err(Failure::Rules)?;
    let record = agent.pods.replan(key, serde_json::to_value(quiet)?).await?;
    // Only now: until here, peers that come in clear would have been captured and judged as such.
    agent.world.withdraw(&record.pod.key());
    if stage != Stage::Draining {
        agent.pods.advance(key, Event::Drain).await?;
        tracing::info!(
            pod = %record.pod, container = key.container_id, reason,
            "pod is leaving the mesh: nothing new is captured"
        );
    }
    Ok(Some((record, netns)))
}

/// The namespace of a pod on record, if it is still there.
pub(super) async fn its_namespace<W: World>(
    agent: &Agent<W>,
    record: &PodRecord,
) -> Result<Option<Arc<OwnedFd>>, Failure> {
    let path = record.netns.as_deref().ok_or(Failure::Invisible)?;
    let Some(netns) = agent.world.open(path).await.map_err(Failure::Namespace)? else {
        return Ok(None);
    };
    let id = agent.world.identify(&netns).map_err(Failure::Namespace)?;
    Ok((id == record.namespace_id).then_some(netns))
}

/// A pod that drains.
struct Drain<'a, W> {
    agent: &'a Agent<W>,
    record: Arc<PodRecord>,
    netns: Arc<OwnedFd>,
    places: &'a Semaphore,
    rejoin_after: Instant,
}

/// Why waiting ended.
enum Waited {
    /// Nothing captured is left.
    Ended,
    /// The time is up, and this many connections are left.
    TimeIsUp(usize),
    /// The pod is of the mesh again.
    WantedBack,
    /// Somebody else took the pod.
    Taken,
}

impl<W: World> Drain<'_, W> {
    async fn complete(&self) -> OutEnd {
        let waited = self.wait().await;
        if matches!(waited, Waited::Taken) {
            return OutEnd::Out;
        }
        match self.finish(waited).await {
            Ok(end) => end,
            Err(failure) => OutEnd::Failed(failure),
        }
    }

    /// Waits without the pod's turn: whoever wants to delete the pod need not wait for it.
    async fn wait(&self) -> Waited {
        let pod = self.record.pod.key();
        let deadline = Instant::now() + self.agent.policy.leave_deadline;
        let mut quiet_since = None;
        loop {
            let left = self.agent.world.drain(&pod, STEP).await;
            let left = if left == 0 {
                // A connection may belong to another process of ours, one that is being replaced.
                let served = self.agent.world.served(Arc::clone(&self.netns)).await;
                served.unwrap_or_default()
            } else {
                left
            };
            if !self.is_draining().await {
                return Waited::Taken;
            }
            if self.is_wanted_back() {
                return Waited::WantedBack;
            }
            // While the mesh's state sends peers here by tunnel, they come.
            let quiet = left == 0 && !self.agent.world.is_sought(&self.record);
            let since = *quiet_since.get_or_insert_with(Instant::now);
            if !quiet {
                quiet_since = None;
            } else if since.elapsed() >= SETTLED {
                return Waited::Ended;
            }
            if Instant::now() >= deadline {
                return Waited::TimeIsUp(left);
            }
            sleep(STEP).await;
        }
    }

    async fn finish(&self, waited: Waited) -> Result<OutEnd, Failure> {
        let (agent, record) = (self.agent, &self.record);
        let key = record.attachment.clone();
        // Before the turn: whoever has that waits for nobody's place.
        let _place = self.places.acquire().await;
        // While a successor takes over, what remains to be done is its.
        let _acting = agent.activity.act().await;
        let turn = agent.pods.turn(key, Some(record.pod.key())).await?;
        if !self.is_draining().await {
            return Ok(OutEnd::Out);
        }
        if matches!(waited, Waited::WantedBack) || self.is_wanted_back() {
            let netns = Arc::clone(&self.netns);
            return Ok(match rejoin(agent, record, netns, &turn).await {
                Ok(()) => OutEnd::Rejoined,
                Err(failure) => OutEnd::NotRejoined(failure),
            });
        }
        if let Waited::TimeIsUp(connections) = waited {
            tracing::warn!(
                pod = %record.pod, connections, waited = ?agent.policy.leave_deadline,
                "the pod leaves the mesh although connections are captured, or peers are still \
                 sent to it by tunnel; these are cut"
            );
        }
        let netns = Some(Arc::clone(&self.netns));
        leave(agent, record, LeaveReason::Unlabelled, netns, BUDGET).await;
        Ok(OutEnd::Out)
    }

    /// Whether it is still the same pod, and drains.
    async fn is_draining(&self) -> bool {
        let entry = self.agent.pods.get(&self.record.attachment).await;
        entry.ok().flatten().is_some_and(|entry| {
            entry.stage == Stage::Draining && entry.record.namespace_id == self.record.namespace_id
        })
    }

    fn is_wanted_back(&self) -> bool {
        Instant::now() >= self.rejoin_after
            && matches!(self.agent.decide(&self.record.pod), Decision::InMesh(_))
    }
}

/// How often it is looked whether the pod has connections.
const STEP: Duration = Duration::from_millis(200);
/// So long nothing must be left: peers hear of the change a little later than we do.
const SETTLED: Duration = Duration::from_secs(1);
