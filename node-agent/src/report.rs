//! Tells the API server what becomes of pods: the annotation that the control plane looks at, and
//! events for people. Nothing waits for either.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use node_agent_cluster::Warning;
use node_agent_enrollment::{Annotate, Quota, Source, Verdict, annotations};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::agent::Agent;
use crate::world::{World, WorldError};

/// Keeps annotations as the table is, for as long as it is polled.
pub(crate) async fn annotate<W: World>(agent: Arc<Agent<W>>) {
    let (mut roster, mut table) = (agent.roster.clone(), agent.pods.changes());
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut writing = JoinSet::new();
    let mut written = Written::default();
    loop {
        // Each arm only says that something may have changed; what has, is found by comparing.
        tokio::select! {
            Ok(()) = roster.changed() => {}
            Ok(()) = table.changed() => {}
            _ = look.tick() => {}
            Some(Ok((annotate, outcome))) = writing.join_next() => {
                written.note(&annotate, outcome);
            }
        }
        // Before every pod was restored, the table says too little.
        if agent.not_ready().is_some() {
            continue;
        }
        let now = agent.roster.borrow().clone();
        let Some(now) = now.filter(|roster| matches!(roster.source(), Source::Kubernetes(_)))
        else {
            continue;
        };
        let all = annotations(&now, &agent.pods.view());
        written.retain(&all);
        for annotate in written.due(all) {
            if writing.len() >= AT_ONCE {
                break;
            }
            written.begun(&annotate);
            let agent = Arc::clone(&agent);
            writing.spawn(async move {
                let outcome = agent.world.annotate(&annotate).await;
                (annotate, outcome)
            });
        }
    }
}

/// Makes events of what the agent complains of, for as long as it is polled.
pub(crate) async fn warn<W: World>(agent: Arc<Agent<W>>, mut warnings: mpsc::Receiver<Warning>) {
    let mut quota = Quota::new(std::time::Instant::now());
    while let Some(warning) = warnings.recv().await {
        let key = warning.pod.key();
        let verdict = quota.may_say(key.as_str(), &warning.note, std::time::Instant::now());
        if verdict != Verdict::Say {
            tracing::debug!(pod = %warning.pod, ?verdict, "no event is made of this");
            continue;
        }
        if let Err(error) = agent.world.warn(&warning).await {
            tracing::debug!(pod = %warning.pod, %error, "an event could not be written");
        }
    }
}

/// What was written, or tried, and is not to be seen yet.
#[derive(Debug, Default)]
struct Written(HashMap<String, Trial>);

#[derive(Debug)]
struct Trial {
    value: Option<&'static str>,
    not_before: Instant,
    failures: u32,
}

impl Written {
    fn retain(&mut self, all: &[Annotate]) {
        self.0
            .retain(|uid, _| all.iter().any(|annotate| annotate.uid == *uid));
    }

    /// What is written now: another value at once, the same not before it is time.
    fn due(&self, all: Vec<Annotate>) -> Vec<Annotate> {
        let now = Instant::now();
        let is_due = |annotate: &Annotate| {
            let trial = self.0.get(&annotate.uid);
            trial.is_none_or(|trial| trial.not_before <= now || trial.value != annotate.value)
        };
        all.into_iter().filter(is_due).collect()
    }

    fn begun(&mut self, annotate: &Annotate) {
        let before = self.0.get(&annotate.uid);
        let failures = before.map_or(0, |trial| trial.failures);
        let trial = Trial {
            value: annotate.value,
            // The watch shows it after a moment; if it does not, it is written again.
            not_before: Instant::now() + SEEN,
            failures,
        };
        self.0.insert(annotate.uid.clone(), trial);
    }

    fn note(&mut self, annotate: &Annotate, outcome: Result<(), WorldError>) {
        let Annotate {
            namespace,
            name,
            uid,
            value,
        } = annotate;
        let Some(trial) = self.0.get_mut(uid) else {
            return;
        };
        match outcome {
            Ok(()) => {
                tracing::debug!(namespace, name, value, "annotated");
                trial.failures = 0;
            }
            Err(error) => {
                let first = trial.failures == 0;
                trial.not_before =
                    Instant::now() + FIRST.saturating_mul(1 << trial.failures.min(6)).min(MOST);
                trial.failures = trial.failures.saturating_add(1);
                // Nobody is left to be annotated.
                if error.retry && first {
                    tracing::warn!(
                        namespace, name, value, %error,
                        "the pod's annotation cannot be written, so the control plane does not know \
                         what its peers should do; the pod itself is as it should be"
                    );
                }
            }
        }
    }
}

/// Compared this often even if nothing is said to have changed.
const LOOK: Duration = Duration::from_secs(5);
/// So many are written at once.
const AT_ONCE: usize = 16;
/// How long it may take until the watch shows what was written.
const SEEN: Duration = Duration::from_secs(30);
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
