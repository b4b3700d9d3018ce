//! Finds where pods run that belong to the mesh and were there before the agent. The API server does
//! not know that, and the runtime tells it only when it adds a pod.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use node_agent_enrollment::{Action, Entry, FoundPlace, ListedPod, Roster, Source, changes};
use node_agent_handover::{Located, Sought};
use tokio::time::Instant;

use super::{changed, ticks};
use crate::agent::Agent;
use crate::world::World;

/// Looks for pods for as long as it is polled.
pub(crate) async fn seek<W: World>(agent: Arc<Agent<W>>) {
    let mut roster = agent.roster.clone();
    let mut look = ticks(LOOK);
    let mut tried = Tried::default();
    loop {
        tokio::select! {
            () = changed(&mut roster) => {}
            _ = look.tick() => {}
        }
        // Before all is known, nobody can tell who is missing.
        if agent.not_ready().is_some() {
            continue;
        }
        let now = agent.roster.borrow().clone();
        let Some(now) = now.filter(|roster| matches!(roster.source(), Source::Kubernetes(_)))
        else {
            continue;
        };
        let missing = missing(&now, &agent.policy.excluded_namespaces, &agent.pods.view());
        tried.retain(&missing);
        let due = tried.due(missing);
        if !due.is_empty() {
            look_for(&agent, due, &mut tried).await;
        }
        agent.tell_unfound(tried.reasons());
    }
}

/// Pods that run, belong to the mesh, and are not in the table.
fn missing<'a>(roster: &'a Roster, excluded: &[String], table: &[Entry]) -> Vec<&'a ListedPod> {
    let all = changes(roster, excluded, table).into_iter();
    let waiting = all.filter(|change| matches!(change.action, Action::Await | Action::Enrol(..)));
    waiting
        .filter_map(|change| roster.pod(&change.pod.namespace, &change.pod.name))
        .collect()
}

async fn look_for<W: World>(agent: &Agent<W>, due: Vec<&ListedPod>, tried: &mut Tried) {
    let sought = due.iter().filter_map(|pod| {
        Some(Sought {
            uid: pod.uid.clone()?,
            addresses: pod.addresses.clone(),
            containers: pod.seen.as_ref()?.containers.clone(),
        })
    });
    let sought: Vec<Sought> = sought.collect();
    let uids: Vec<String> = sought.iter().map(|pod| pod.uid.clone()).collect();
    let until = std::time::Instant::now() + PATIENCE;
    let located = match agent.world.locate(sought, until).await {
        Ok(located) => located,
        Err(error) => {
            let why = error.to_string();
            uids.iter()
                .map(|_| Located::Nowhere { why: why.clone() })
                .collect()
        }
    };
    for ((uid, pod), located) in uids.into_iter().zip(due).zip(located) {
        let name = format!("{}/{}", pod.namespace, pod.name);
        let place = match located {
            Located::At { netns, sandbox } => {
                tracing::info!(pod = name, netns, sandbox, "found where the pod runs");
                tried.found(&uid);
                Some(FoundPlace { netns, sandbox })
            }
            Located::Nowhere { why } => {
                if tried.not_found(&uid, name, why.clone()) == News::Yes {
                    agent.complain(&pod.reference(), "NotFoundOnNode", why);
                }
                None
            }
        };
        agent.world.place(uid, place).await;
    }
}

/// Whether somebody should hear of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    Yes,
    No,
}

/// What was looked for, and when it is looked for again.
#[derive(Debug, Default)]
struct Tried(HashMap<String, Trial>);

#[derive(Debug)]
struct Trial {
    times: u32,
    again: Instant,
    /// Name and reason, if it was not found.
    unfound: Option<(String, String)>,
}

impl Tried {
    fn retain(&mut self, missing: &[&ListedPod]) {
        let is_missing = |uid: &String| missing.iter().any(|pod| pod.uid.as_ref() == Some(uid));
        self.0.retain(|uid, _| is_missing(uid));
    }

    fn due<'a>(&self, missing: Vec<&'a ListedPod>) -> Vec<&'a ListedPod> {
        let now = Instant::now();
        let is_due = |pod: &&ListedPod| {
            let trial = pod.uid.as_ref().and_then(|uid| self.0.get(uid));
            trial.is_none_or(|trial| trial.again <= now)
        };
        let due = missing.into_iter().filter(is_due);
        // One whose uid is not known cannot be told from others.
        due.filter(|pod| pod.uid.is_some() && pod.seen.is_some())
            .take(AT_ONCE)
            .collect()
    }

    /// It may still turn out to be wrong; then it is looked for again, but not soon.
    fn found(&mut self, uid: &str) {
        self.note(uid, MOST, None);
    }

    fn not_found(&mut self, uid: &str, name: String, why: String) -> News {
        let before = self.0.get(uid);
        let times = before.map_or(0, |trial| trial.times);
        let pause = FIRST.saturating_mul(1 << times.min(6)).min(MOST);
        // A pod that has just got its address may have processes a moment later: the first time is no
        // news, the second is.
        let said = before.and_then(|trial| trial.unfound.as_ref());
        let is_news = times == 1 || (times > 1 && said.is_none_or(|(_, said)| *said != why));
        if is_news {
            tracing::warn!(
                pod = name,
                why,
                "the pod belongs to the mesh and runs outside of it, because it cannot be found on \
                 this node; re-create it, or see why"
            );
        }
        self.note(uid, pause, Some((name, why)));
        if is_news { News::Yes } else { News::No }
    }

    fn note(&mut self, uid: &str, pause: Duration, unfound: Option<(String, String)>) {
        let times = self.0.get(uid).map_or(0, |trial| trial.times);
        let trial = Trial {
            times: times + 1,
            again: Instant::now() + pause,
            unfound,
        };
        self.0.insert(uid.to_owned(), trial);
    }

    fn reasons(&self) -> BTreeMap<String, String> {
        let unfound = self.0.values().filter_map(|trial| trial.unfound.clone());
        unfound
            .map(|(name, why)| (name, format!("the pod runs outside of the mesh: {why}")))
            .collect()
    }
}

/// It is looked this often whether somebody is missing.
const LOOK: Duration = Duration::from_secs(5);
const FIRST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(60);
/// One look through the node's processes takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many are looked for at once; others come next.
const AT_ONCE: usize = 256;
