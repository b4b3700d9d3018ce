//! Compares pods' rules with the plans on record, one after the other all the time, and repairs them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant as StdInstant, SystemTime};

use node_agent_enrollment::{AttachmentKey, Entry, PodRecord, Stage};
use tokio::time::Instant;

use super::{BUDGET, ticks};
use crate::agent::Agent;
use crate::world::{World, WorldError};

/// Looks after the rules for as long as it is polled.
pub(crate) async fn keep_rules<W: World>(agent: Arc<Agent<W>>) {
    let mut look = ticks(LOOK);
    let mut rounds = Rounds::default();
    loop {
        look.tick().await;
        let view = agent.pods.view();
        agent
            .repairs
            .retain(|key| view.iter().any(|entry| entry.record.attachment == *key));
        for key in rounds.due(&view, Instant::now()) {
            let _acting = agent.activity.act().await;
            let outcome = repair(&agent, &key).await;
            rounds.note(&key, outcome);
        }
    }
}

/// Brings one pod's rules to its plan, if the pod is in the mesh.
async fn repair<W: World>(agent: &Agent<W>, key: &AttachmentKey) -> Result<(), WorldError> {
    // With the turn: rules must not be repaired that somebody takes out at this moment.
    let turn = agent.pods.turn(key.clone(), None).await;
    let _turn = turn.map_err(WorldError::passing)?;
    let entry = agent.pods.get(key).await.map_err(WorldError::passing)?;
    let Some(Entry { record, stage, .. }) = entry else {
        return Ok(());
    };
    let (Stage::Enrolled(_), Some(path)) = (stage, record.netns.as_deref()) else {
        return Ok(());
    };
    // Whoever looks for namespaces that are gone sees to those.
    let Some(netns) = agent.world.open(path).await? else {
        return Ok(());
    };
    if agent.world.identify(&netns)? != record.namespace_id {
        return Ok(());
    }
    let until = StdInstant::now() + BUDGET;
    let drift = agent.world.repair_rules(&record, netns, until).await?;
    if !drift.is_empty() {
        say(agent, &record, drift);
    }
    Ok(())
}

fn say<W>(agent: &Agent<W>, record: &PodRecord, drift: Vec<String>) {
    tracing::warn!(
        pod = %record.pod, ?drift,
        "somebody changed the pod's redirect rules; repaired, and what the pod opened meanwhile may have \
         gone past the mesh"
    );
    let first = drift.first().map_or("", String::as_str);
    let note = format!("the pod's redirect rules had been changed and were repaired: {first}");
    agent.complain(&record.pod, "RulesRepaired", note);
    agent
        .repairs
        .note(&record.attachment, SystemTime::now(), drift);
}

/// Which pods are next.
#[derive(Debug, Default)]
struct Rounds(HashMap<AttachmentKey, Turn>);

#[derive(Debug)]
struct Turn {
    due: Instant,
    /// Why it failed last, if it did.
    problem: Option<String>,
}

impl Rounds {
    /// The few that have waited longest, if they have waited long enough.
    fn due(&mut self, view: &[Entry], now: Instant) -> Vec<AttachmentKey> {
        let enrolled = view
            .iter()
            .filter(|entry| matches!(entry.stage, Stage::Enrolled(_)));
        let mut old = std::mem::take(&mut self.0);
        for entry in enrolled {
            let key = &entry.record.attachment;
            // One that has just come in was just probed.
            let turn = old.remove(key).unwrap_or(Turn {
                due: now + PERIOD,
                problem: None,
            });
            self.0.insert(key.clone(), turn);
        }
        let mut due: Vec<(Instant, AttachmentKey)> = self
            .0
            .iter()
            .filter(|(_, turn)| turn.due <= now)
            .map(|(key, turn)| (turn.due, key.clone()))
            .collect();
        due.sort_unstable();
        due.truncate(AT_ONCE);
        for (_, key) in &due {
            if let Some(turn) = self.0.get_mut(key) {
                turn.due = now + PERIOD;
            }
        }
        due.into_iter().map(|(_, key)| key).collect()
    }

    fn note(&mut self, key: &AttachmentKey, outcome: Result<(), WorldError>) {
        let problem = outcome.err().map(|error| error.to_string());
        let Some(turn) = self.0.get_mut(key) else {
            return;
        };
        if let Some(problem) = &problem
            && turn.problem.as_ref() != Some(problem)
        {
            tracing::warn!(attachment = %key, problem, "the pod's redirect rules cannot be compared or repaired");
        }
        turn.problem = problem;
    }
}

/// A pod is compared about this often.
const PERIOD: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_secs(1);
/// So many at each look. One takes some 15 ms of a processor (a process, and in it one that shows the
/// rules of each family), so this is three per cent of one at most. Up to twenty pods are compared in each
/// period; two hundred and fifty in about two minutes.
const AT_ONCE: usize = 2;

#[cfg(test)]
mod tests;
