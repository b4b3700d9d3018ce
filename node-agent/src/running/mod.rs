//! Takes pods that run in and out of the mesh, as the roster says.
//!
//! Nothing here follows edges: at each change of the roster, and at each tick, roster and table are
//! compared, and whatever is to be done and not yet under way is begun. Each pod's work holds the
//! pod's turn while it changes something, and gives it up as soon as somebody else wants it: a DEL
//! wins.

mod failure;
mod join;
mod out;
mod seek;
mod spare;
mod trials;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use node_agent_enrollment::{
    Action, AttachmentKey, Change, Entry, PodRef, Roster, Source, Stage, changes,
};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::agent::Agent;
use crate::world::World;
use failure::Failure;
use join::{Candidate, join};
use out::{OutEnd, out};
pub(crate) use seek::seek;
use spare::spare_fewer;
use trials::{Kind, Trials};

/// Takes pods in and out for as long as it is polled.
pub(crate) async fn run<W: World>(agent: Arc<Agent<W>>) {
    let mut roster = agent.roster.clone();
    let (mut look, mut spared) = (ticks(LOOK), ticks(SPARED));
    let mut work = Work::new(agent);
    loop {
        tokio::select! {
            () = changed(&mut roster) => {
                work.roster_changed();
                work.look();
            }
            _ = look.tick() => work.look(),
            _ = spared.tick() => work.look_at_spared(),
            Some(done) = work.tasks.join_next() => {
                match done {
                    Ok(done) => work.note(done),
                    Err(error) => {
                        tracing::error!(%error, "taking a pod in or out ended in a panic");
                    }
                }
                work.look();
            }
        }
    }
}

async fn changed(roster: &mut watch::Receiver<Option<Arc<Roster>>>) {
    if roster.changed().await.is_err() {
        // Nobody reads a pods file; what drains is looked after by ticks.
        std::future::pending::<()>().await;
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What is under way, and what failed.
struct Work<W> {
    agent: Arc<Agent<W>>,
    tasks: JoinSet<Done>,
    /// So many pods are worked on at once; those that only wait do not count.
    places: Arc<Semaphore>,
    busy: HashSet<AttachmentKey>,
    trials: Trials,
    /// Pods of which it was said already that they wait for the runtime.
    said: HashSet<String>,
}

/// A piece of work that has ended.
struct Done {
    key: AttachmentKey,
    pod: PodRef,
    outcome: Outcome,
}

enum Outcome {
    Join(Result<(), Failure>),
    Out(OutEnd),
    Spare(Result<(), Failure>),
}

impl<W: World> Work<W> {
    fn new(agent: Arc<Agent<W>>) -> Self {
        Self {
            agent,
            tasks: JoinSet::new(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            busy: HashSet::new(),
            trials: Trials::default(),
            said: HashSet::new(),
        }
    }

    /// Whoever edited the file wants to see what comes of it now. The API server tells of every pod's
    /// every step.
    fn roster_changed(&mut self) {
        let roster = self.agent.roster.borrow();
        if roster
            .as_ref()
            .is_some_and(|roster| roster.source() == Source::File)
        {
            self.trials.retry_now();
        }
    }

    /// Compares roster and table, and begins what is to be done.
    fn look(&mut self) {
        // Before all is known, and when the agent stops, nobody is taken in or out.
        if self.agent.not_ready().is_some() {
            return;
        }
        let (roster, view) = (self.agent.roster.borrow().clone(), self.agent.pods.view());
        let excluded = &self.agent.policy.excluded_namespaces;
        let changes = roster.map_or_else(Vec::new, |roster| changes(&roster, excluded, &view));
        self.forget(&changes, &view);
        for change in changes {
            self.obey(change);
        }
        for entry in view.iter().filter(|entry| entry.stage == Stage::Draining) {
            self.begin_out(entry.record.pod.clone(), entry.record.attachment.clone());
        }
        let mut troubles = self.agent.unfound();
        troubles.extend(self.trials.troubles());
        self.agent.pods.tell_troubles(troubles);
    }

    fn obey(&mut self, change: Change) {
        let Change {
            pod,
            action,
            reason,
        } = change;
        match action {
            Action::Enrol(member, place) => {
                let key = place.attachment.clone();
                if self.may_begin(Kind::Join, &key) {
                    let candidate = Candidate { pod, member, place };
                    self.begin_join(candidate, key);
                }
            }
            Action::Unenrol(key) => self.begin_out(pod, key),
            // Whoever drains looks whether it is wanted back.
            Action::Rejoin(_) | Action::Nothing => {}
            Action::Await => {
                if self.said.insert(pod.to_string()) {
                    tracing::info!(%pod, reason, "the pod is not enrolled");
                }
            }
        }
    }

    fn begin_join(&mut self, candidate: Candidate, key: AttachmentKey) {
        let (agent, pod) = (Arc::clone(&self.agent), candidate.pod.clone());
        let places = Arc::clone(&self.places);
        self.busy.insert(key.clone());
        self.tasks.spawn(async move {
            // The semaphore is never closed, so the place is always given.
            let _place = places.acquire().await;
            let _acting = agent.activity.act().await;
            let outcome = Outcome::Join(join(&agent, candidate).await);
            Done { key, pod, outcome }
        });
    }

    fn begin_out(&mut self, pod: PodRef, key: AttachmentKey) {
        if !self.may_begin(Kind::Out, &key) {
            return;
        }
        let (agent, places) = (Arc::clone(&self.agent), Arc::clone(&self.places));
        let rejoin_after = self.trials.not_before(Kind::Join, &key);
        self.busy.insert(key.clone());
        self.tasks.spawn(async move {
            let outcome = Outcome::Out(out(&agent, &key, &places, rejoin_after).await);
            Done { key, pod, outcome }
        });
    }

    /// Looks which spared connections have ended.
    fn look_at_spared(&mut self) {
        for Entry { record, stage, .. } in self.agent.pods.view().iter() {
            let key = record.attachment.clone();
            let spares = record.plan.get("spared").is_some();
            let enrolled = matches!(stage, Stage::Enrolled(_));
            if !spares || !enrolled || !self.may_begin(Kind::Spare, &key) {
                continue;
            }
            let (agent, pod) = (Arc::clone(&self.agent), record.pod.clone());
            let places = Arc::clone(&self.places);
            self.busy.insert(key.clone());
            self.tasks.spawn(async move {
                let _place = places.acquire().await;
                let _acting = agent.activity.act().await;
                let outcome = Outcome::Spare(spare_fewer(&agent, &key).await);
                Done { key, pod, outcome }
            });
        }
    }

    fn may_begin(&self, kind: Kind, key: &AttachmentKey) -> bool {
        !self.busy.contains(key) && self.trials.not_before(kind, key) <= Instant::now()
    }

    fn note(&mut self, done: Done) {
        let Done { key, pod, outcome } = done;
        self.busy.remove(&key);
        self.complain(&pod, &outcome);
        let trials = &mut self.trials;
        match outcome {
            Outcome::Join(Ok(())) | Outcome::Out(OutEnd::Rejoined) => {
                trials.succeeded(Kind::Join, &key);
            }
            Outcome::Join(Err(failure)) | Outcome::Out(OutEnd::NotRejoined(failure)) => {
                trials.failed(Kind::Join, key, &pod, &failure);
            }
            Outcome::Out(OutEnd::Out) => trials.succeeded(Kind::Out, &key),
            Outcome::Out(OutEnd::Failed(failure)) => {
                trials.failed(Kind::Out, key, &pod, &failure);
            }
            Outcome::Spare(Ok(())) => trials.succeeded(Kind::Spare, &key),
            Outcome::Spare(Err(failure)) => trials.failed(Kind::Spare, key, &pod, &failure),
        }
    }

    fn complain(&self, pod: &PodRef, outcome: &Outcome) {
        let (reason, failure) = match outcome {
            Outcome::Join(Err(failure)) | Outcome::Out(OutEnd::NotRejoined(failure)) => {
                ("EnrolmentFailed", failure)
            }
            Outcome::Out(OutEnd::Failed(failure)) => ("UnenrolmentFailed", failure),
            _ => return,
        };
        // Somebody else's turn is nobody's fault.
        if !matches!(failure, Failure::Wanted) {
            self.agent.complain(pod, reason, failure.to_string());
        }
    }

    /// What failed with pods that are not of interest any more is no trouble.
    fn forget(&mut self, changes: &[Change], view: &[Entry]) {
        let there: HashSet<&AttachmentKey> = view.iter().map(|e| &e.record.attachment).collect();
        let wanted: HashSet<&AttachmentKey> = changes
            .iter()
            .filter_map(|change| match &change.action {
                Action::Enrol(_, place) => Some(&place.attachment),
                _ => None,
            })
            .collect();
        self.trials
            .retain(|key| there.contains(key) || wanted.contains(key));
    }
}

/// The table is compared with the roster this often; a change of the roster does not wait for it.
const LOOK: Duration = Duration::from_secs(5);
/// Spared connections that have ended go out of the rules this often.
const SPARED: Duration = Duration::from_secs(20);
/// So many pods are worked on at once.
const AT_ONCE: usize = 32;
