//! The holder's state and its loop: one thread, one wait, one thing at a time.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use node_agent_handover::{Answer, FromWorker, JobDone, Restarts, Site, ToWorker};
use node_agent_redirect::Backend;
use tunnel_sockets::Namespaces;

use crate::answers::Waiting;
use crate::channel::ChannelError;
use crate::door::{Door, DoorError};
use crate::hand::{Hand, overdue};
use crate::listeners::{ListenError, bind_site};
use crate::poll::{Interest, wait};
use crate::settings::HolderSettings;
use crate::signals::Signals;
use crate::stop::Stopping;
use crate::succession::{Caller, Succession};
use crate::successor::{self, Predecessor};
use crate::worker::{Phase, Worker};

/// How long a site's address may stay with a predecessor before it is tried again.
const SITE_RETRY: Duration = Duration::from_millis(200);

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
    pub(crate) hands: Vec<Hand>,
    pub(crate) waiting: VecDeque<Waiting>,
    /// The pods that the present worker has asked for.
    pub(crate) claimed: BTreeSet<Arc<str>>,
    /// Which packet filter works here: the next worker need not wait for the same trial.
    pub(crate) detected: Option<Backend>,
    pub(crate) callers: Vec<Caller>,
    pub(crate) succession: Succession,
    pub(crate) predecessor: Option<Predecessor>,
    pub(crate) stopping: Option<Stopping>,
    restarts: Restarts,
    restart_at: Option<Instant>,
    next_site: Instant,
    signals: Signals,
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
            hands: Vec::new(),
            waiting: VecDeque::new(),
            claimed: BTreeSet::new(),
            detected: None,
            callers: Vec::new(),
            succession: Succession::None,
            predecessor: None,
            stopping: None,
            restarts: Restarts::default(),
            restart_at: None,
            next_site: now,
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
        if drained && self.succession != Succession::Over {
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
                Token::Caller(index) => self.hear_caller(index, now),
                Token::Predecessor => successor::hear(self)?,
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
            add(worker.link.as_fd(), worker.link.has_waiting(), Token::Link);
            add(worker.end(), false, Token::WorkerEnd);
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
            .chain(self.restart_at)
            .chain(missing.then_some(self.next_site))
            .chain(self.callers.iter().map(|caller| caller.until))
            .chain(self.succession.until())
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
        self.succession_on_time(now);
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
        self.employ_hands(now);
    }

    fn start_worker(&mut self, now: Instant) {
        match Worker::start(&self.settings.worker, now) {
            Ok(worker) => {
                tracing::info!(pid = worker.pid(), "started the worker");
                self.worker = Some(worker);
                self.claimed.clear();
                self.welcome();
            }
            Err(error) => {
                let restart = self.restarts.died(now, now);
                self.restart_at = Some(restart.at.max(now + Duration::from_millis(100)));
                tracing::error!(%error, "cannot start the worker; it is tried again");
            }
        }
    }

    /// Gives a fresh worker what it begins with.
    fn welcome(&mut self) {
        let outcome = self.welcome_with_all();
        self.blame_worker(outcome);
    }

    fn welcome_with_all(&mut self) -> Result<(), ChannelError> {
        let plugin = self.plugin.as_ref().map(UnixListener::try_clone);
        let plugin = plugin.transpose().map_err(ChannelError::Kernel)?;
        let welcome = ToWorker::Welcome {
            plugin: plugin.is_some(),
        };
        let sites = self
            .sites
            .iter()
            .map(|(site, listener)| listener.try_clone().map(|copy| (*site, copy)))
            .collect::<io::Result<Vec<_>>>()
            .map_err(ChannelError::Kernel)?;
        let Some(worker) = &mut self.worker else {
            return Ok(());
        };
        worker.tell(&welcome, plugin.into_iter().map(Into::into).collect())?;
        for (site, listener) in sites {
            worker.tell(&ToWorker::Site { site }, vec![listener.into()])?;
        }
        self.give_door()
    }

    /// Lets the worker answer at the door when this process is gone.
    pub(crate) fn give_door(&mut self) -> Result<(), ChannelError> {
        if let (Some(worker), Some(door)) = (&mut self.worker, &self.door) {
            let copy = door.duplicate().map_err(ChannelError::Kernel)?;
            worker.tell(&ToWorker::Door, vec![copy])?;
        }
        Ok(())
    }

    pub(crate) fn signal(&self) -> Option<Signal> {
        self.signals.next()
    }

    fn bind_missing_sites(&mut self, now: Instant) {
        self.next_site = now + SITE_RETRY;
        for (site, address) in self.settings.sites.clone() {
            if self.sites.iter().any(|(have, _)| *have == site) {
                continue;
            }
            // A predecessor that does not pass it lets go of it when it ends.
            if let Ok(listener) = bind_site(address) {
                let copy = listener.try_clone();
                self.sites.push((site, listener));
                let outcome = copy.map_err(ChannelError::Kernel).and_then(|copy| {
                    let worker = self.worker.as_mut();
                    let tell = |w: &mut Worker| w.tell(&ToWorker::Site { site }, vec![copy.into()]);
                    worker.map_or(Ok(()), tell)
                });
                self.blame_worker(outcome);
            }
        }
    }

    fn listen_to_worker(&mut self, now: Instant) {
        loop {
            let Some(worker) = &mut self.worker else {
                return;
            };
            let outcome = worker.link.flush().and_then(|()| worker.link.receive());
            match outcome {
                Ok(None) => return,
                Ok(Some(received)) => self.hear_worker(received.message, received.fds, now),
                Err(error) => return self.blame_worker(Err(error)),
            }
        }
    }

    fn hear_worker(&mut self, message: FromWorker, fds: Vec<OwnedFd>, now: Instant) {
        match message {
            FromWorker::Ask { id, ask } => self.asked(id, ask, fds, now),
            FromWorker::Pong => {
                if let Some(worker) = &mut self.worker {
                    worker.lives(now);
                }
            }
            FromWorker::Serving => self.worker_serves(now),
            FromWorker::Quiet => self.worker_is_quiet(now),
            FromWorker::StopAsked => self.asked_to_stop("the admin interface", now),
            FromWorker::Retired { cut } => {
                tracing::info!(connections_cut = cut, "the worker has served what it had");
            }
        }
    }

    fn worker_serves(&mut self, now: Instant) {
        if let Some(worker) = &mut self.worker
            && worker.phase == Phase::Starting
        {
            worker.phase = Phase::Serving;
            let took = now.saturating_duration_since(worker.started);
            tracing::info!(pid = worker.pid(), ?took, "the worker serves");
            self.close_unclaimed();
        }
        let outcome = successor::worker_serves(self);
        self.blame_worker(outcome);
    }

    /// Whoever calls a pod that the worker does not know, because its table was damaged or it could
    /// not bring the pod back, is refused instead of waiting for nobody.
    fn close_unclaimed(&mut self) {
        let kept = self.namespaces.kept().map(|kept| Arc::clone(kept.pod));
        let unclaimed: Vec<_> = kept.filter(|pod| !self.claimed.contains(pod)).collect();
        for pod in unclaimed {
            tracing::warn!(%pod, "the worker does not know this pod; its listeners are closed");
            self.namespaces.close(&pod);
        }
    }

    fn watch_worker(&mut self, now: Instant) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        match worker.watch(now) {
            Ok(Some(silent)) if silent >= self.settings.worker_deadline => {
                tracing::error!(
                    pid = worker.pid(),
                    ?silent,
                    "the worker hangs; it is replaced"
                );
                worker.kill();
                // Not killed again before its end is seen.
                worker.lives(now);
            }
            Ok(_) => {}
            Err(error) => self.blame_worker(Err(error)),
        }
    }

    /// A worker that cannot be spoken to is of no use; its end is then seen as any other.
    pub(crate) fn blame_worker(&mut self, outcome: Result<(), ChannelError>) {
        let Err(error) = outcome else { return };
        let Some(worker) = &self.worker else { return };
        if worker.phase == Phase::Retiring && matches!(error, ChannelError::Gone) {
            // It is on its way out; should it hang there, the missing signs of life say so.
            return;
        }
        if !matches!(error, ChannelError::Gone) {
            tracing::error!(%error, pid = worker.pid(), "cannot speak to the worker");
        }
        worker.kill();
    }

    fn bury_worker(&mut self, now: Instant) {
        // What it said last is still to be read.
        self.listen_to_worker(now);
        let Some(worker) = self.worker.take() else {
            return;
        };
        let (pid, started, phase) = (worker.pid(), worker.started, worker.phase);
        let status = worker.ended();
        self.hands.clear();
        self.waiting.clear();
        if phase == Phase::Retiring {
            tracing::info!(pid, status, "the worker has ended");
            self.ended = Some(Ended::Drained);
            return;
        }
        let restart = self.restarts.died(started, now);
        let pause = restart.at.saturating_duration_since(now);
        tracing::error!(
            pid,
            status,
            in_a_row = restart.in_a_row,
            ?pause,
            "the worker died: its connections are reset, new ones wait; another is started"
        );
        if self.worker_died(now) {
            self.restart_at = Some(restart.at);
        }
    }

    /// A worker is to be started unless that is planned already.
    pub(crate) fn need_worker(&mut self) {
        self.restart_at.get_or_insert_with(Instant::now);
    }
}
