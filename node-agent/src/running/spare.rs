//! Takes spared connections that have ended out of a pod's rules.

use std::time::Instant;

use node_agent_enrollment::{AttachmentKey, Entry, Stage};
use node_agent_redirect::RedirectPlan;

use super::failure::Failure;
use super::join::BUDGET;
use super::out::its_namespace;
use crate::agent::Agent;
use crate::world::World;

/// Spares what is still open, and nothing else.
pub(super) async fn spare_fewer<W: World>(
    agent: &Agent<W>,
    key: &AttachmentKey,
) -> Result<(), Failure> {
    let _turn = agent.pods.turn(key.clone(), None).await?;
    let Some(Entry { record, stage, .. }) = agent.pods.get(key).await? else {
        return Ok(());
    };
    if !matches!(stage, Stage::Enrolled(_)) {
        return Ok(());
    }
    // Whoever looks for namespaces that are gone sees to it.
    let Some(netns) = its_namespace(agent, &record).await? else {
        return Ok(());
    };
    let plan: RedirectPlan = serde_json::from_value(record.plan.clone())?;
    let until = Instant::now() + BUDGET;
    let fewer = agent.world.spare_fewer(plan, netns, until).await;
    if let Some(fewer) = fewer.map_err(Failure::Rules)? {
        let spared = fewer.spared.len();
        agent.pods.replan(key, serde_json::to_value(fewer)?).await?;
        tracing::debug!(pod = %record.pod, spared, "connections that were spared have ended");
    }
    Ok(())
}
