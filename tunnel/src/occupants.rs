//! Who is at an address that the mesh's state does not tell of.
//!
//! Who knows is not the data plane: it asks through a channel and remembers the answer for a short
//! time, each thread for itself. A question has a limit; what nobody answers is an answer, too.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tunnel_decide::{Occupant, OutboundFacts, OutboundVerdict, PodRange};

use crate::context::Context;

/// How long an answer holds.
const ANSWER: Duration = Duration::from_secs(10);
/// How long it holds that nobody of the mesh is there, as long as the control plane would tell of a pod that comes: the
/// same few databases outside of the cluster must not be asked about for ever.
const ANSWER_WHILE_TOLD: Duration = Duration::from_secs(600);
/// How long it holds that nobody could tell.
const NO_ANSWER: Duration = Duration::from_secs(1);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a pod of the mesh, when it is heard of, is left to the control plane to be told of:
/// longer than that takes to collect what it tells together.
const TELLING: Duration = Duration::from_millis(500);
/// Questions of all threads that wait to be taken.
const QUESTIONS: usize = 64;
/// Answers that a thread remembers.
const REMEMBERED: usize = 4096;

/// The way to ask. Clones share it.
#[derive(Debug, Clone)]
pub struct Occupants {
    questions: mpsc::Sender<Question>,
    /// About which addresses to ask.
    pub(crate) range: Arc<PodRange>,
    /// Whether the control plane tells of what changes.
    told: Arc<AtomicBool>,
}

/// A question.
#[derive(Debug)]
pub struct Question {
    /// Who is there?
    pub ip: IpAddr,
    /// To be answered here; a question that is dropped was answered by nobody.
    pub reply: oneshot::Sender<Occupant>,
}

impl Occupants {
    /// A way to ask, and what is asked. `range` is about which addresses.
    #[must_use]
    pub fn channel(range: PodRange) -> (Self, mpsc::Receiver<Question>) {
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let (range, told) = (Arc::new(range), Arc::default());
        let occupants = Self {
            questions,
            range,
            told,
        };
        (occupants, asked)
    }

    /// Says whether the control plane tells of what changes. While it does not, answers are soon asked for again.
    pub fn note_control_plane(&self, tells: bool) {
        self.told.store(tells, Ordering::Relaxed);
    }

    async fn ask(&self, ip: IpAddr) -> Occupant {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            self.questions.send(Question { ip, reply }).await.ok()?;
            answer.await.ok()
        };
        let nobody = |why: &str| Occupant::Unknown { why: why.into() };
        match timeout(PATIENCE, asking).await {
            Ok(Some(occupant)) => occupant,
            Ok(None) => nobody("whoever could tell does not work"),
            Err(_) => nobody("no answer in time"),
        }
    }
}

/// What a thread remembers.
#[derive(Debug, Default)]
pub(crate) struct Remembered(RefCell<HashMap<IpAddr, Rc<OnceCell<Told>>>>);

/// An answer.
#[derive(Debug, Clone)]
struct Told {
    occupant: Occupant,
    /// Since when the same member is known to be there.
    since: Instant,
    /// When it was given.
    given: Instant,
}

impl Remembered {
    /// The answer, remembered or asked for. Those who want the same one ask once.
    async fn who(&self, occupants: &Occupants, ip: IpAddr) -> Told {
        let (cell, before) = self.find(ip, occupants.told.load(Ordering::Relaxed));
        let ask = async || Told::new(occupants.ask(ip).await, before);
        cell.get_or_init(ask).await.clone()
    }

    /// Where the answer is or will be, and the one that holds no longer.
    fn find(&self, ip: IpAddr, told: bool) -> (Rc<OnceCell<Told>>, Option<Told>) {
        let mut all = self.0.borrow_mut();
        let now = Instant::now();
        let holds = |cell: &OnceCell<Told>| {
            cell.get()
                .is_none_or(|answer| now < answer.given + answer.holds(told))
        };
        if let Some(cell) = all.get(&ip).filter(|cell| holds(cell)) {
            return (Rc::clone(cell), None);
        }
        if all.len() >= REMEMBERED {
            all.retain(|_, cell| holds(cell));
        }
        if all.len() >= REMEMBERED {
            // Who asks for so many at once may ask again.
            all.clear();
        }
        let fresh = Rc::new(OnceCell::new());
        let before = all.insert(ip, Rc::clone(&fresh));
        (fresh, before.and_then(|cell| cell.get().cloned()))
    }
}

impl Told {
    /// A member whose place nobody can tell of any more is still the one to be expected there:
    /// somebody else would not prove to be it.
    fn new(occupant: Occupant, before: Option<Self>) -> Self {
        let now = Instant::now();
        let before = before.filter(|told| matches!(told.occupant, Occupant::Member(_)));
        let (occupant, since) = match (occupant, before) {
            (Occupant::Member(member), Some(before)) => (Occupant::Member(member), before.since),
            (Occupant::Unknown { .. }, Some(before)) => (before.occupant, before.since),
            (occupant, _) => (occupant, now),
        };
        Self {
            occupant,
            since,
            given: now,
        }
    }

    /// How long it holds. What was given while the control plane told of changes holds only shortly once it does not.
    const fn holds(&self, told: bool) -> Duration {
        match &self.occupant {
            Occupant::Unknown { .. } => NO_ANSWER,
            Occupant::Outsider if told => ANSWER_WHILE_TOLD,
            Occupant::Outsider | Occupant::Member(_) => ANSWER,
        }
    }
}

/// Decides about a connection to an address that the mesh does not know. It is held while there is
/// hope for something better than a refusal, and a moment for the control plane.
pub(crate) async fn decide(
    context: &Context,
    occupants: &Occupants,
    facts: &mut OutboundFacts,
) -> OutboundVerdict {
    let until = Instant::now() + context.settings.workload_wait;
    let ip = facts.original_dst.ip();
    loop {
        let told = context.remembered.who(occupants, ip).await;
        let (again, hold) = match &told.occupant {
            Occupant::Outsider => (false, None),
            Occupant::Member(_) => (false, Some(told.since + TELLING)),
            Occupant::Unknown { .. } => (
                Instant::now() < until,
                Some(until.min(told.given + NO_ANSWER)),
            ),
        };
        if let Some(hold) = hold {
            told_of(context, ip, hold).await;
        }
        facts.occupant = Some(told.occupant);
        let verdict = tunnel_decide::outbound(&context.parts.mesh.load(), facts);
        let refused = matches!(verdict, OutboundVerdict::Refuse(_));
        if !(again && refused) {
            return verdict;
        }
    }
}

/// Waits until the mesh knows the address.
async fn told_of(context: &Context, ip: IpAddr, until: Instant) {
    if until <= Instant::now() {
        return;
    }
    let mesh = &context.parts.mesh;
    let mut changes = mesh.changes();
    let known = async {
        loop {
            changes.borrow_and_update();
            let network = &context.settings.network;
            if mesh.load().workload_by_ip(network, ip).is_some() {
                return;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    // Over, or not: what is known is decided on.
    timeout_at(until, known).await.ok();
}

#[cfg(test)]
mod tests;
