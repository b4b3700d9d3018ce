//! Takes one running pod in, or leaves it as it was.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use node_agent_enrollment::{
    Event, LeaveReason, Member, NamespaceId, Place, PodRecord, PodRef, Stage,
};
use node_agent_redirect::RedirectPlan;

use super::failure::{Failure, advice};
use crate::agent::Agent;
use crate::leave::{leave, replace};
use crate::pods::Turn;
use crate::world::World;

/// A pod that runs and belongs to the mesh.
pub(super) struct Candidate {
    pub(super) pod: PodRef,
    pub(super) member: Member,
    pub(super) place: Place,
}

/// Takes the pod in. When this fails, the pod is as it was, or drains on its way to that.
pub(super) async fn join<W: World>(agent: &Agent<W>, candidate: Candidate) -> Result<(), Failure> {
    let began = Instant::now();
    let (netns, namespace_id) = found(agent, &candidate.place).await?;
    let Candidate { pod, member, place } = candidate;
    let record = Arc::new(PodRecord {
        attachment: place.attachment,
        pod,
        service_account: member.service_account,
        netns: Some(place.netns),
        namespace_id,
        addresses: place.addresses,
        plan: serde_json::to_value(agent.world.plan())?,
    });
    let (key, pod) = (record.attachment.clone(), record.pod.key());
    let turn = agent.pods.turn(key.clone(), Some(pod.clone())).await?;
    if agent.pods.get(&key).await?.is_some() || is_added(agent, &record) {
        // An ADD came first.
        return Ok(());
    }
    let begun = agent.pods.begin_joining(Arc::clone(&record)).await?;
    agent.world.hold_certificate(&record);
    replace(agent, begun, &pod, BUDGET).await?;
    if let Err(failure) = prepare(agent, &record, &netns, &turn).await {
        let reason = LeaveReason::EnrolmentFailed;
        leave(agent, &record, reason, Some(netns), BUDGET).await;
        return Err(failure);
    }
    begin_capture(agent, &record, netns, &turn).await?;
    let took_ms = u64::try_from(began.elapsed().as_millis()).ok();
    tracing::info!(
        pod = %record.pod, uid = %pod, service_account = record.service_account,
        container = key.container_id, why = member.reason, took_ms, "running pod enrolled"
    );
    Ok(())
}

/// Whether the runtime has added the pod under another name than the one it was found by.
fn is_added<W>(agent: &Agent<W>, found: &PodRecord) -> bool {
    let view = agent.pods.view();
    view.iter().any(|entry| {
        let record = &entry.record;
        record.pod.may_be(&found.pod) && record.namespace_id == found.namespace_id
    })
}

/// The namespace, if it is what the roster says it is. Its path alone proves nothing: names of
/// namespaces are used again.
async fn found<W: World>(
    agent: &Agent<W>,
    place: &Place,
) -> Result<(Arc<OwnedFd>, NamespaceId), Failure> {
    let opened = agent
        .world
        .open(&place.netns)
        .await
        .map_err(Failure::Namespace)?;
    let advice = advice(agent.source());
    let netns = opened.ok_or_else(|| Failure::NoNamespace {
        path: place.netns.clone(),
        advice,
    })?;
    let id = agent.world.identify(&netns).map_err(Failure::Namespace)?;
    let present = agent.world.addresses(Arc::clone(&netns)).await;
    let present = present.map_err(Failure::Namespace)?;
    let missing = place.addresses.iter().find(|a| !present.contains(a));
    match missing {
        Some(missing) => Err(Failure::Addresses {
            missing: *missing,
            advice,
        }),
        None => Ok((netns, id)),
    }
}

/// Everything that has to be there before the first rule. The pod notices nothing of it.
async fn prepare<W: World>(
    agent: &Agent<W>,
    record: &PodRecord,
    netns: &Arc<OwnedFd>,
    turn: &Turn,
) -> Result<(), Failure> {
    let key = &record.attachment;
    unless_wanted(turn, certificate(agent, record)).await??;
    agent.pods.advance(key, Event::CertificateReady).await?;

    unless_wanted(turn, listen(agent, record, netns)).await??;
    let intent = agent.pods.advance(key, Event::ListenersOpen).await?;

    unless_wanted(turn, agent.writer.durable(intent.generation)).await??;
    agent.pods.advance(key, Event::Recorded).await?;
    Ok(())
}

/// Waits for the certificate, for a while: unlike a pod that starts, one that runs is not held.
async fn certificate<W: World>(agent: &Agent<W>, record: &PodRecord) -> Result<(), Failure> {
    let waited = agent.policy.certificate_wait;
    let waiting = agent.world.certificate(record);
    if agent.world.has_certificate(record) || tokio::time::timeout(waited, waiting).await.is_ok() {
        return Ok(());
    }
    let why = agent.world.certificate_problem(record);
    let why = why.unwrap_or_else(|| "the authority has not answered yet".to_owned());
    Err(Failure::Certificate { waited, why })
}

async fn listen<W: World>(
    agent: &Agent<W>,
    record: &PodRecord,
    netns: &Arc<OwnedFd>,
) -> Result<(), Failure> {
    let theirs = netns.try_clone().map_err(crate::world::WorldError::passing);
    let listening = agent
        .world
        .listen(record, theirs.map_err(Failure::Listeners)?);
    listening.await.map_err(Failure::Listeners)
}

/// Captures a pod that drains again. The caller holds the turn.
pub(super) async fn rejoin<W: World>(
    agent: &Agent<W>,
    record: &PodRecord,
    netns: Arc<OwnedFd>,
    turn: &Turn,
) -> Result<(), Failure> {
    unless_wanted(turn, certificate(agent, record)).await??;
    // After a restart of the agent there may be none.
    unless_wanted(turn, listen(agent, record, &netns)).await??;
    let key = &record.attachment;
    agent.pods.advance(key, Event::Rejoin).await?;
    begin_capture(agent, record, netns, turn).await?;
    tracing::info!(pod = %record.pod, container = key.container_id, "pod is back in the mesh");
    Ok(())
}

/// From the rules on. When this fails the pod drains: something may have been captured.
async fn begin_capture<W: World>(
    agent: &Agent<W>,
    record: &PodRecord,
    netns: Arc<OwnedFd>,
    turn: &Turn,
) -> Result<(), Failure> {
    let key = &record.attachment;
    let outcome = capture(agent, record, netns, turn).await;
    let Err(failure) = outcome else {
        return Ok(());
    };
    let stage = agent.pods.get(key).await?.map(|entry| entry.stage);
    if matches!(stage, Some(Stage::Joining(_))) {
        agent.pods.advance(key, Event::Drain).await?;
    }
    Err(failure)
}

async fn capture<W: World>(
    agent: &Agent<W>,
    record: &PodRecord,
    netns: Arc<OwnedFd>,
    turn: &Turn,
) -> Result<(), Failure> {
    let key = &record.attachment;
    let plan: RedirectPlan = serde_json::from_value(record.plan.clone())?;
    // Before the first rule, or a probe that comes now would be captured.
    unless_wanted(turn, agent.probes.cover(record, BUDGET)).await?;
    let until = Instant::now() + BUDGET;
    // Not given up half-way, whoever waits: it would go on behind the back of who comes next.
    let capturing = agent
        .world
        .capture(plan.sparing(Vec::new()), netns, until)
        .await;
    let in_force = capturing.map_err(Failure::Rules)?;
    let spared = in_force.spared.len();
    agent
        .pods
        .replan(key, serde_json::to_value(in_force)?)
        .await?;
    agent.pods.advance(key, Event::RulesInstalled).await?;
    tracing::debug!(pod = %record.pod, spared, "rules are in; open connections are spared");

    let pod = record.pod.key();
    let probed = unless_wanted(turn, agent.world.probe(&pod)).await?;
    probed.map_err(Failure::Probe)?;
    let recording = agent.pods.advance(key, Event::ProbePassed).await?;
    unless_wanted(turn, agent.writer.durable(recording.generation)).await??;
    // Peers come by tunnel from now on: marks and routes are there, so that answers find back.
    agent.world.announce(record).map_err(Failure::Announce)?;
    agent.pods.advance(key, Event::Recorded).await?;
    Ok(())
}

/// Gives a step up as soon as somebody else wants to work on the pod.
async fn unless_wanted<T>(turn: &Turn, step: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::select! {
        biased;
        outcome = step => Ok(outcome),
        () = turn.wanted() => Err(Failure::Wanted),
    }
}

/// A change of a namespace takes no longer. Nobody waits for it but who comes next, and an
/// overloaded kernel may take seconds for each transaction.
pub(super) const BUDGET: Duration = Duration::from_secs(30);
