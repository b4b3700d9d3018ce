//! DEL, CHECK, GC and STATUS.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cni_plugin_handoff::{CheckRequest, DelRequest, GcRequest, Reply};
use node_agent_enrollment::{AttachmentKey, Decision, Entry, LeaveReason, PodRef, Stage};
use node_agent_redirect::RedirectPlan;

use super::add::pod_of;
use crate::agent::Agent;
use crate::leave::{Left, leave};
use crate::pods::{PodsError, Turn};
use crate::upkeep::is_gone;
use crate::world::World;

/// Forgets an attachment. Never fails because something is gone already.
pub(crate) async fn del<W: World>(
    agent: &Agent<W>,
    request: DelRequest,
    netns: Option<OwnedFd>,
) -> Result<Reply, PodsError> {
    let key = AttachmentKey {
        container_id: request.container_id,
        ifname: request.ifname,
    };
    let pod = request.pod.as_ref().map(pod_of);
    let _turn = agent
        .pods
        .turn(key.clone(), pod.as_ref().map(PodRef::key))
        .await?;
    let (entry, _other_turn) = match (agent.pods.get(&key).await?, &pod) {
        (None, Some(pod)) => assumed_and_turn(agent, pod, &key.ifname, netns.as_ref()).await?,
        (entry, _) => (entry, None),
    };
    let Some(entry) = entry else {
        return Ok(Reply::Done {
            was_enrolled: false,
            plan: pod.and_then(|pod| plan_of_a_stranger(agent, &pod)),
        });
    };
    let budget = Duration::from_millis(request.deadline_ms).clamp(LEAST, MOST);
    let left = take_out(agent, &entry, netns.map(Arc::new), budget).await;
    // Rules we could not remove are the plugin's to try.
    let plan = (left == Left::WithRules).then(|| plan_of(&entry)).flatten();
    Ok(Reply::Done {
        was_enrolled: true,
        plan,
    })
}

/// The attachment that the runtime means, if the pod was found running and nobody knew how the runtime
/// names it. A pod may have had other sandboxes, so its name alone proves nothing: the namespace must
/// be the same, or, if the runtime has none any more, be gone.
async fn assumed<W: World>(
    agent: &Agent<W>,
    pod: &PodRef,
    ifname: &str,
    netns: Option<&OwnedFd>,
) -> Result<Option<Entry>, PodsError> {
    let entry = agent
        .pods
        .assumed_of(pod.clone(), ifname.to_owned())
        .await?;
    let Some(entry) = entry else { return Ok(None) };
    let (path, id) = (entry.record.netns.as_deref(), entry.record.namespace_id);
    let is_meant = match netns {
        Some(netns) => agent.world.identify(netns).is_ok_and(|found| found == id),
        None => is_gone(agent, path, id).await,
    };
    Ok(is_meant.then_some(entry))
}

/// The same, with the turn to work on it, for who holds the turn that the runtime's names lead to.
async fn assumed_and_turn<W: World>(
    agent: &Agent<W>,
    pod: &PodRef,
    ifname: &str,
    netns: Option<&OwnedFd>,
) -> Result<(Option<Entry>, Option<Turn>), PodsError> {
    let Some(entry) = assumed(agent, pod, ifname, netns).await? else {
        return Ok((None, None));
    };
    let theirs = entry.record.pod.key();
    if theirs == pod.key() {
        return Ok((Some(entry), None));
    }
    // The runtime did not tell the uid, by which the pod was found.
    let key = entry.record.attachment.clone();
    let turn = agent.pods.turn(key.clone(), Some(theirs)).await?;
    Ok((agent.pods.get(&key).await?, Some(turn)))
}

/// What may be left of an ADD that died together with the agent that knew of it. A pod that is
/// outside the mesh was never touched, and rules of others in it stay.
fn plan_of_a_stranger<W: World>(agent: &Agent<W>, pod: &PodRef) -> Option<RedirectPlan> {
    match agent.decide(pod) {
        Decision::NotInMesh { .. } => None,
        Decision::InMesh(_) | Decision::Unknown { .. } => Some(agent.world.plan()),
    }
}

/// Forgets every attachment the runtime no longer has.
pub(crate) async fn gc<W: World>(agent: &Agent<W>, request: GcRequest) -> Result<Reply, PodsError> {
    let valid = request
        .valid_attachments
        .into_iter()
        .map(|a| AttachmentKey {
            container_id: a.container_id,
            ifname: a.ifname,
        })
        .collect();
    let mut was_enrolled = false;
    for key in agent.pods.missing_from(valid).await? {
        let _turn = agent.pods.turn(key.clone(), None).await?;
        let Some(entry) = agent.pods.get(&key).await? else {
            continue;
        };
        // What is still on its way in belongs to an ADD that is newer than the list.
        if matches!(
            entry.stage,
            Stage::Enrolled(_) | Stage::Restoring | Stage::Draining
        ) {
            take_out(agent, &entry, None, MOST).await;
            was_enrolled = true;
        }
    }
    Ok(Reply::Done {
        was_enrolled,
        plan: None,
    })
}

/// Says whether an attachment is as ADD left it, as far as the agent can see.
pub(crate) async fn check<W: World>(
    agent: &Agent<W>,
    request: CheckRequest,
    netns: Option<OwnedFd>,
) -> Result<Reply, PodsError> {
    let key = AttachmentKey {
        container_id: request.container_id,
        ifname: request.ifname,
    };
    let pod = pod_of(&request.pod);
    let entry = match agent.pods.get(&key).await? {
        Some(entry) => Some(entry),
        None => assumed(agent, &pod, &key.ifname, netns.as_ref()).await?,
    };
    let Some(entry) = entry else {
        return Ok(match agent.decide(&pod) {
            Decision::NotInMesh { reason } => Reply::NotInMesh { reason },
            Decision::Unknown { reason } => Reply::Checked {
                plan: None,
                problems: vec![reason],
            },
            Decision::InMesh(member) => Reply::Checked {
                plan: None,
                problems: vec![format!(
                    "the pod is not enrolled, although {}",
                    member.reason
                )],
            },
        });
    };
    let problems = problems(agent, &entry, netns.as_ref());
    Ok(Reply::Checked {
        plan: plan_of(&entry),
        problems,
    })
}

/// Says whether pods could start now.
pub(crate) fn status<W: World>(agent: &Agent<W>) -> Reply {
    agent
        .serves_nobody()
        .map_or(Reply::Ready, |reason| Reply::NotReady { reason })
}

fn problems<W: World>(agent: &Agent<W>, entry: &Entry, netns: Option<&OwnedFd>) -> Vec<String> {
    let mut problems = Vec::new();
    match &entry.stage {
        // Held traffic is what the settings ask for, so it is no fault of the attachment.
        Stage::Enrolled(_) => {}
        Stage::Restoring => problems.push("the pod is not restored yet".to_owned()),
        other => problems.push(format!("the pod is not enrolled but {other:?}")),
    }
    if !agent.world.has_listeners(&entry.record.pod.key()) {
        problems.push("the pod has no listeners".to_owned());
    }
    match netns.map(|netns| agent.world.identify(netns)) {
        Some(Ok(id)) if id != entry.record.namespace_id => {
            problems.push("the pod was enrolled in another network namespace".to_owned());
        }
        Some(Err(error)) => problems.push(format!("the network namespace is unusable: {error}")),
        Some(Ok(_)) | None => {}
    }
    problems
}

/// Takes an attachment out, its rules too if its namespace is still the one it was.
async fn take_out<W: World>(
    agent: &Agent<W>,
    entry: &Entry,
    netns: Option<Arc<OwnedFd>>,
    budget: Duration,
) -> Left {
    let is_same = |netns: &Arc<OwnedFd>| {
        agent
            .world
            .identify(netns)
            .is_ok_and(|id| id == entry.record.namespace_id)
    };
    let path = entry.record.netns.as_deref().filter(|_| netns.is_none());
    let opened = match path {
        Some(path) => agent.world.open(path).await.ok().flatten(),
        None => None,
    };
    let netns = netns.or(opened).filter(is_same);
    let reason = if netns.is_some() {
        LeaveReason::Deleted
    } else {
        LeaveReason::NamespaceGone
    };
    leave(agent, &entry.record, reason, netns, budget).await
}

fn plan_of(entry: &Entry) -> Option<RedirectPlan> {
    serde_json::from_value(entry.record.plan.clone()).ok()
}

const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(10);
