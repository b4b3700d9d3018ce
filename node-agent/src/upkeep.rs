//! What is looked after while pods run: certificates that come late, pods that go without a DEL.

mod rules;

use std::sync::Arc;
use std::time::Duration;

use node_agent_enrollment::{Entry, Event, LeaveReason, Stage, Traffic};
use tokio::time::{MissedTickBehavior, interval};

use crate::agent::Agent;
use crate::leave::leave;
use crate::world::World;
pub(crate) use rules::keep_rules;

/// Looks after the pods for as long as it is polled.
pub(crate) async fn upkeep<W: World>(agent: Arc<Agent<W>>) {
    let mut certificates = ticks(CERTIFICATES);
    let mut namespaces = ticks(NAMESPACES);
    loop {
        // Both arms look at the whole state, so a tick that is lost is made good by the next.
        tokio::select! {
            _ = certificates.tick() => {
                let _acting = agent.activity.act().await;
                note_certificates(&agent).await;
            }
            _ = namespaces.tick() => {
                let _acting = agent.activity.act().await;
                forget_the_gone(&agent).await;
            }
        }
    }
}

/// Pods whose traffic was held and need not be any more.
pub(crate) async fn note_certificates<W: World>(agent: &Agent<W>) {
    for Entry { record, stage, .. } in agent.pods.view().iter() {
        if *stage != Stage::Enrolled(Traffic::Held) || !agent.world.has_certificate(record) {
            continue;
        }
        // The pod may have left since the view was taken; then there is nothing to note.
        if agent
            .pods
            .advance(&record.attachment, Event::CertificateReady)
            .await
            .is_ok()
        {
            tracing::info!(pod = %record.pod, "the pod's certificate is there; its traffic flows");
        }
    }
}

/// Pods whose namespace went away without the runtime telling us.
pub(crate) async fn forget_the_gone<W: World>(agent: &Agent<W>) {
    for Entry { record, stage, .. } in agent.pods.view().iter() {
        let enrolled = matches!(stage, Stage::Enrolled(_));
        if !enrolled || !is_gone(agent, record.netns.as_deref(), record.namespace_id).await {
            continue;
        }
        let key = &record.attachment;
        let Ok(_turn) = agent.pods.turn(key.clone(), Some(record.pod.key())).await else {
            return;
        };
        let entry = agent.pods.get(key).await.ok().flatten();
        if entry.is_some_and(|now| Arc::ptr_eq(&now.record, record)) {
            tracing::warn!(pod = %record.pod, "the pod's network namespace went away without DEL");
            leave(agent, record, LeaveReason::NamespaceGone, None, BUDGET).await;
        }
    }
}

/// Gone only if the path is known to mean something else now; a failed look proves nothing.
pub(crate) async fn is_gone<W: World>(
    agent: &Agent<W>,
    path: Option<&str>,
    expected: node_agent_enrollment::NamespaceId,
) -> bool {
    let Some(path) = path else { return false };
    match agent.world.open(path).await {
        Ok(None) => true,
        Ok(Some(netns)) => agent
            .world
            .identify(&netns)
            .is_ok_and(|found| found != expected),
        Err(_) => false,
    }
}

fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

const CERTIFICATES: Duration = Duration::from_millis(500);
const NAMESPACES: Duration = Duration::from_secs(30);
const BUDGET: Duration = Duration::from_secs(10);
