//! Takes a pod out: fulfils the obligations that the state machine returns, in its order.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use node_agent_enrollment::{Begun, Event, LeaveReason, Obligation, PodKey, PodRecord, Stage};

use crate::agent::Agent;
use crate::pods::PodsError;
use crate::world::World;

/// What came of taking a pod out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing of the pod is left.
    Cleanly,
    /// Its rules may still be there; they lead nowhere, so nothing leaves in clear.
    WithRules,
    /// It was not in the table.
    NotThere,
}

/// Takes a pod out of the mesh and of the table. The caller holds the pod's turn.
pub(crate) async fn leave<W: World>(
    agent: &Agent<W>,
    record: &PodRecord,
    reason: LeaveReason,
    netns: Option<Arc<OwnedFd>>,
    budget: Duration,
) -> Left {
    let key = &record.attachment;
    let obligations = match agent
        .pods
        .advance(key, Event::Leave(reason))
        .await
        .map(|a| a.stage)
    {
        Ok(Stage::Leaving(obligations)) => obligations,
        Ok(_) => Vec::new(),
        Err(error) => {
            tracing::debug!(%error, attachment = %key, "nothing to take out");
            return Left::NotThere;
        }
    };
    let left = undo(agent, record, &obligations, netns, budget).await;
    if let Err(error) = forget(agent, record, budget).await {
        tracing::warn!(%error, pod = %record.pod, "pod left, but may be found again by a restart");
    }
    tracing::info!(
        pod = %record.pod, container = key.container_id, ?reason, rules_left = left == Left::WithRules,
        "pod left the mesh"
    );
    left
}

/// Takes out what a new attachment replaces: an earlier attempt, and earlier sandboxes of the pod.
/// The caller holds the pod's turn.
pub(crate) async fn replace<W: World>(
    agent: &Agent<W>,
    begun: Begun,
    pod: &PodKey,
    budget: Duration,
) -> Result<(), PodsError> {
    if let Some(replaced) = begun.replaced {
        let obligations = replaced.stage.obligations(LeaveReason::Replaced);
        undo(agent, &replaced.record, &obligations, None, budget).await;
    }
    let other_namespace = !begun.older.is_empty();
    for older in begun.older {
        if let Some(entry) = agent.pods.get(&older).await? {
            leave(agent, &entry.record, LeaveReason::Replaced, None, budget).await;
        }
    }
    if other_namespace {
        // The listeners of the dead sandbox must not be taken for this one's.
        agent.world.close_listeners(pod).await;
    }
    Ok(())
}

/// Fulfils obligations one by one; what fails is said and does not stop the rest.
pub(crate) async fn undo<W: World>(
    agent: &Agent<W>,
    record: &PodRecord,
    obligations: &[Obligation],
    netns: Option<Arc<OwnedFd>>,
    budget: Duration,
) -> Left {
    let mut left = Left::Cleanly;
    for obligation in obligations {
        match obligation {
            Obligation::RemoveRules => {
                let Some(netns) = netns.clone() else { continue };
                let until = Instant::now() + budget;
                if let Err(error) = agent.world.remove_rules(record, netns, until).await {
                    left = Left::WithRules;
                    tracing::warn!(
                        %error, pod = %record.pod,
                        "cannot remove the pod's redirect rules; its traffic is refused, not let out"
                    );
                }
            }
            Obligation::CloseListeners => {
                agent.world.close_listeners(&record.pod.key()).await;
            }
            Obligation::ReleaseCertificate => agent.world.release_certificate(record),
            // The table forgets the record when all is undone.
            Obligation::ForgetRecord => {}
        }
    }
    left
}

async fn forget<W: World>(
    agent: &Agent<W>,
    record: &PodRecord,
    budget: Duration,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let gone: Result<_, PodsError> = agent.pods.advance(&record.attachment, Event::Undone).await;
    let generation = gone?.generation;
    tokio::time::timeout(budget, agent.writer.durable(generation)).await??;
    Ok(())
}
