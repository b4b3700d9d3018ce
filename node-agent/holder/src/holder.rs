//! The holder's state and its loop: one thread, one wait, one thing at a time.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use node_agent_handover::{Answer, JobDone, Restarts, Site};
use node_agent_redirect::Backend;
use tunnel_sockets::Namespaces;

use crate::answers::Waiting;
use crate::door::{Door, DoorError};
use crate::former::Former;
use crate::hand::{Hand, overdue};
use crate::listeners::ListenError;
use crate::poll::{Interest, wait};
use crate::settings::HolderSettings;
use crate::signals::Signals;
use crate::stop::Stopping;
use crate::succession::{Caller, Succession};
use crate::successor::{self, Predecessor};
use crate::worker::{Phase, Worker};

/// Why a holder cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    /// The kernel refuses something basic.
    #[error("{what}: {source}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The well-known socket.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The predecessor does not hand over; it goes on serving.
    #[error("the agent that runs (process {pid}) does not hand over: {why}")]
    Predecessor {
        /// Who answers at the door.
        pid: i32,
        /// Why.
        why: String,
    },
}

impl HolderError {
    pub(crate) fn kernel(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Kernel { what, source }
    }
}

/// How a holder ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its worker has served what there was and this process may end.
    Drained,
    /// A copy of this process serves on for a successor: end without touching anything.
    Lingering,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Signals,
    Door,
    Link,
    WorkerEnd,
    FormerLink,
    FormerEnd,
    Caller(usize),
    Predecessor,
    Hand(usize),
}

/// All there is.
pub(crate) struct Holder {
    pub(crate) settings: HolderSettings,
    pub(crate) namespaces: Namespaces,
    pub(crate) plugin: Option<UnixListener>,
    pub(crate) sites: Vec<(Site, TcpListener)>,
    pub(crate) door: Option<Door>,
    pub(crate) worker: Option<Worker>,
    /// A dead predecessor's.
    pub(crate) former: Option<Former>,
    pub(crate) hands: Vec<Hand>,
    /// Process numbers of hands that were let go of and have perhaps not ended yet.
    unburied: Vec<i32>,
    pub(crate) waiting: VecDeque<Waiting>,
    /// The pods that the present worker has asked for.
    pub(crate) claimed: BTreeSet<Arc<str>>,
    /// Which packet filter works here: the next worker need not wait for the same trial.
    pub(crate) detected: Option<Backend>,
    pub(crate) callers: Vec<Caller>,
    pub(crate) succession: Succession,
    pub(crate) predecessor: Option<Predecessor>,
    /// When pods' namespaces are let go of, because a successor has them.
    pub(crate) release_at: Option<Instant>,
    pub(crate) stopping: Option<Stopping>,
    pub(crate) restarts: Restarts,
    pub(crate) restart_at: Option<Instant>,
    pub(crate) next_site: Instant,
    /// When the pages of the program go that only a start needs.
    pub(crate) forget_at: Option<Instant>,
    /// It was said that a site's address is taken.
    pub(crate) said_missing: bool,
    pub(crate) signals: Signals,
    pub(crate) ended: Option<Ended>,
}

/// Runs the holder until its time is over.
///
/// # Errors
/// See [`HolderError`]; nothing is left behind, and a predecessor goes on serving.
pub fn run(settings: HolderSettings) -> Result<Ended, HolderError> {
    let mut holder = Holder::start(settings)?;
    let outcome = loop {
        if let Some(ended) = holder.ended {
            break Ok(ended);
        }
        if let Err(error) = holder.turn() {
            break Err(error);
        }
    };
    holder.leave(&outcome);
    outcome
}

impl Holder {
    fn start(settings: HolderSettings) -> Result<Self, HolderError> {
        let now = Instant::now();
        let mut holder = Self {
            namespaces: Namespaces::new().map_err(HolderError::kernel("own namespace"))?,
            signals: Signals::new().map_err(HolderError::kernel("signals"))?,
            settings,
            plugin: None,
            sites: Vec::new(),
            door: None,
            worker: None,
            former: None,
            hands: Vec::new(),
            unburied: Vec::new(),
            said_missing: false,
            waiting: VecDeque::new(),
            claimed: BTreeSet::new(),
            detected: None,
            callers: Vec::new(),
            succession: Succession::None,
            predecessor: None,
            release_at: None,
            stopping: None,
            restarts: Restarts::default(),
            restart_at: None,
            next_site: now,
            forget_at: None,
            ended: None,
        };
        successor::begin(&mut holder, now)?;
        if holder.worker.is_none() {
            holder.restart_at = Some(now);
        }
        Ok(holder)
    }

    /// The last thing this process does: what would mislead others is taken away.
    fn leave(&mut self, outcome: &Result<Ended, HolderError>) {
        let drained = matches!(outcome, Ok(Ended::Drained));
        if drained && self.succession == Succession::None {
            let paths = self.settings.plugin.iter().chain([&self.settings.door]);
            for path in paths {
                if let Err(error) = std::fs::remove_file(path) {
                    tracing::debug!(%error, path = %path.display(), "cannot remove a socket");
                }
            }
        }
        // A worker that was started for nothing must not live on as an orphan; one that serves, or was
        // adopted, waits for the next holder.
        let for_nothing = |worker: &Worker| {
            worker.is_ours() && (worker.phase == Phase::Starting || self.predecessor.is_some())
        };
        if outcome.is_err()
            && let Some(worker) = self.worker.take_if(|worker| for_nothing(worker))
        {
            worker.kill();
            drop(worker.ended());
        }
    }

    fn turn(&mut self) -> Result<(), HolderError> {
        let ready = wait(&self.interests(), self.wake(), Instant::now())
            .map_err(HolderError::kernel("waiting"))?;
        let now = Instant::now();
        // Answers of hands first: indices into lists hold until the first removal.
        self.finish_hands(&ready, now);
        for token in ready {
            match token {
                Token::Signals => self.obey_signals(now),
                Token::Door => self.greet(now),
                Token::Link => self.listen_to_worker(now),
                Token::WorkerEnd => self.bury_worker(now),
                Token::FormerLink => self.listen_to_former(now),
                Token::FormerEnd => self.bury_former(),
                Token::Caller(index) => self.hear_caller(index, now),
                Token::Predecessor => successor::hear(self, now)?,
                Token::Hand(_) => {}
            }
        }
        self.callers.retain(|caller| !caller.over);
        self.act_on_time(now)
    }

    fn interests(&self) -> Vec<Interest<'_, Token>> {
        let mut interests = Vec::new();
        let mut add = |fd, write, token| interests.push(Interest { fd, write, token });
        add(self.signals.as_fd(), false, Token::Signals);
        if let Some(door) = &self.door {
            add(door.as_fd(), false, Token::Door);
        }
        if let Some(worker) = &self.worker {
            // A link is closed a moment before the worker has ended, and then is readable for ever.
            if worker.link.is_open() {
                add(worker.link.as_fd(), worker.link.has_waiting(), Token::Link);
            }
            add(worker.end(), false, Token::WorkerEnd);
        }
        if let Some(Former { worker, .. }) = &self.former {
            if worker.link.is_open() {
                add(
                    worker.link.as_fd(),
                    worker.link.has_waiting(),
                    Token::FormerLink,
                );
            }
            add(worker.end(), false, Token::FormerEnd);
        }
        for (index, caller) in self.callers.iter().enumerate() {
            let channel = &caller.channel;
            add(channel.as_fd(), channel.has_waiting(), Token::Caller(index));
        }
        if let Some(predecessor) = &self.predecessor {
            add(predecessor.channel.as_fd(), false, Token::Predecessor);
        }
        for (index, hand) in self.hands.iter().enumerate() {
            add(hand.answer.as_fd(), false, Token::Hand(index));
        }
        interests
    }

    /// When something is to be done although nothing happens.
    fn wake(&self) -> Option<Instant> {
        let deadline = self.settings.worker_deadline;
        let missing = self.sites.len() < self.settings.sites.len();
        self.hands
            .iter()
            .map(|hand| hand.until)
            .chain(self.worker.as_ref().map(|worker| worker.wake(deadline)))
            .chain(self.former_wake())
            .chain(self.restart_at)
            .chain(self.forget_at)
            .chain(missing.then_some(self.next_site))
            .chain(self.callers.iter().map(|caller| caller.until))
            .chain(self.succession.until())
            .chain(self.release_at)
            .chain(
                self.predecessor
                    .as_ref()
                    .map(|predecessor| predecessor.until),
            )
            .chain(self.stopping.as_ref().and_then(Stopping::until))
            .min()
    }

    fn act_on_time(&mut self, now: Instant) -> Result<(), HolderError> {
        self.watch_worker(now);
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart_at = None;
            self.start_worker(now);
        }
        if self.sites.len() < self.settings.sites.len() && self.next_site <= now {
            self.bind_missing_sites(now);
        }
        self.forget_on_time(now);
        self.former_on_time(now);
        self.succession_on_time(now);
        self.release_on_time(now);
        self.stop_on_time(now);
        successor::on_time(self, now)
    }

    fn finish_hands(&mut self, ready: &[Token], now: Instant) {
        let done = |index: usize| ready.contains(&Token::Hand(index));
        for index in (0..self.hands.len()).rev() {
            let late = self.hands[index].until <= now;
            if !done(index) && !late {
                continue;
            }
            let hand = self.hands.swap_remove(index);
            let id = hand.id;
            self.unburied.push(hand.pid());
            let answer = if done(index) {
                hand.finish()
            } else {
                overdue()
            };
            if let Answer::Job(JobDone::Detected(backend)) = &answer {
                self.detected = Some(*backend);
            }
            self.answer(id, answer, Vec::new());
        }
        // One that the kernel does not let end must not keep us waiting.
        self.unburied.retain(|pid| is_unburied(*pid));
        self.employ_hands(now);
    }

    /// Lets go of all hands: nobody hears their answers any more.
    pub(crate) fn dismiss_hands(&mut self) {
        self.unburied
            .extend(self.hands.drain(..).map(|hand| hand.pid()));
    }
}

/// Whether a child has still to be waited for.
fn is_unburied(pid: i32) -> bool {
    matches!(
        waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)),
        Ok(WaitStatus::StillAlive)
    )
}
