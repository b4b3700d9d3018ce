//! The worker of a predecessor that died in the middle of an upgrade: it still carries connections,
//! so it gets the sockets that it needs until it has served them to their end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use node_agent_handover::{
    Answer, Ask, FromPredecessor, FromSuccessor, FromWorker, InPod, Kept, ToWorker,
};

use crate::channel::{Channel, ChannelError};
use crate::door::Door;
use crate::hand::passing;
use crate::holder::Holder;
use crate::successor::next;
use crate::worker::{Phase, Worker};

/// An orphan answers at the door within this time, or it has died, too.
const ANSWER: Duration = Duration::from_secs(2);
/// How much longer than its drain a former worker may live.
const GRACE: Duration = Duration::from_secs(10);

/// A worker that is let go of.
#[derive(Debug)]
pub(crate) struct Former {
    pub(crate) worker: Worker,
    /// Killed then; nothing before it was told to retire.
    pub(crate) until: Option<Instant>,
}

impl Holder {
    /// Looks whether the dead predecessor left its worker behind, and takes care of it.
    pub(crate) fn care_for_orphan(&mut self, now: Instant) {
        let met = self.meet_orphan(now);
        match met {
            Ok(Some(worker)) => {
                tracing::info!(pid = worker.pid(), "caring for the predecessor's worker");
                self.former = Some(Former {
                    worker,
                    until: None,
                });
                self.retire_former(now);
            }
            Ok(None) => {}
            Err(why) => tracing::warn!(why, "the predecessor's worker does not answer"),
        }
    }

    fn meet_orphan(&mut self, now: Instant) -> Result<Option<Worker>, String> {
        let knocked = Door::knock(&self.settings.door).map_err(|error| error.to_string())?;
        let Some((socket, _)) = knocked else {
            return Ok(None);
        };
        let mut channel = Channel::new(socket, self.settings.spoken.min);
        let hello = FromSuccessor::Hello {
            spoken: self.settings.spoken,
            build: self.settings.build.clone(),
        };
        let text = |error: ChannelError| error.to_string();
        channel.send(&hello, Vec::new()).map_err(text)?;
        let mut orphan = None;
        let until = now + ANSWER;
        while let Some(received) = next(&mut channel, until).map_err(text)? {
            match received.message {
                FromPredecessor::Welcome {
                    version,
                    orphan: Some(pid),
                    ..
                } => {
                    channel.set_version(version);
                    orphan = received.fds.into_iter().next().map(|end| (pid, end));
                }
                // Only the door; of everything else we have our own.
                FromPredecessor::Kept(Kept::Door) if self.door.is_none() => {
                    let door = received.fds.into_iter().next();
                    self.door = door.map(Door::from_listener);
                }
                FromPredecessor::Kept(_) => {}
                FromPredecessor::All => {
                    let (pid, end) = orphan.ok_or("it did not say who it is")?;
                    return Ok(Some(Worker::adopt(channel, pid, end, now)));
                }
                FromPredecessor::Refused { why } => return Err(why),
                FromPredecessor::Welcome { .. } | FromPredecessor::Over => {
                    return Err("it spoke out of turn".to_owned());
                }
            }
        }
        Err(format!("nothing came within {ANSWER:?}"))
    }

    /// Lets the former worker end, as soon as ours serves.
    pub(crate) fn retire_former(&mut self, now: Instant) {
        let serves = |worker: &Worker| worker.phase == Phase::Serving;
        if !self.worker.as_ref().is_some_and(serves) {
            return;
        }
        let Some(former) = &mut self.former else {
            return;
        };
        if former.until.is_some() {
            return;
        }
        let patience = self.settings.succession_deadline;
        former.until = Some(now + patience + GRACE);
        former.worker.phase = Phase::Retiring;
        let retire = ToWorker::Retire {
            patience_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
            accepting: false,
        };
        let outcome = former.worker.tell(&retire, Vec::new());
        self.blame_former(outcome);
    }

    pub(crate) fn listen_to_former(&mut self, now: Instant) {
        for _ in 0..TURN {
            let Some(former) = &mut self.former else {
                return;
            };
            let link = &mut former.worker.link;
            match link.flush().and_then(|()| link.receive::<FromWorker>()) {
                Ok(None) => return,
                Ok(Some(received)) => self.hear_former(received.message, now),
                Err(error) => return self.blame_former(Err(error)),
            }
        }
    }

    fn hear_former(&mut self, message: FromWorker, now: Instant) {
        let (answer, fds) = match message {
            FromWorker::Ask { id, ask } => {
                let (answer, fds) = self.answer_former(ask);
                (ToWorker::Answer { id, answer }, fds)
            }
            FromWorker::Pong => {
                if let Some(former) = &mut self.former {
                    former.worker.lives(now);
                }
                return;
            }
            FromWorker::Retired { cut } => {
                tracing::info!(
                    connections_cut = cut,
                    "the former worker has served what it had"
                );
                return;
            }
            FromWorker::Serving | FromWorker::Quiet | FromWorker::StopAsked => return,
        };
        if let Some(former) = &mut self.former {
            let outcome = former.worker.tell(&answer, fds);
            self.blame_former(outcome);
        }
    }

    /// Sockets it gets. What becomes of pods is not for it to say any more.
    fn answer_former(&mut self, ask: Ask) -> (Answer, Vec<OwnedFd>) {
        match ask {
            Ask::Pod {
                pod,
                what: what @ InPod::Make { .. },
            } => self.about_pod(&Arc::from(pod), &what, Vec::new()),
            Ask::Pod {
                what: InPod::Close, ..
            } => (Answer::Closed { known: false }, Vec::new()),
            Ask::Pod { .. } | Ask::Namespace { .. } | Ask::Job { .. } => (
                passing("another agent has taken over this node".to_owned()),
                Vec::new(),
            ),
        }
    }

    pub(crate) fn former_on_time(&mut self, now: Instant) {
        let deadline = self.settings.worker_deadline;
        let Some(former) = &mut self.former else {
            return;
        };
        let late = former.until.is_some_and(|until| until <= now);
        match former.worker.watch(now) {
            Ok(silent) if late || silent.is_some_and(|silent| silent >= deadline) => {
                tracing::error!(
                    pid = former.worker.pid(),
                    "the former worker hangs; it is killed"
                );
                former.until = None;
                former.worker.lives(now);
                former.worker.kill();
            }
            Ok(_) => {}
            Err(error) => self.blame_former(Err(error)),
        }
    }

    /// When [`Holder::former_on_time`] has something to do.
    pub(crate) fn former_wake(&self) -> Option<Instant> {
        let former = self.former.as_ref()?;
        let wake = former.worker.wake(self.settings.worker_deadline);
        Some(former.until.map_or(wake, |until| until.min(wake)))
    }

    pub(crate) fn bury_former(&mut self) {
        if let Some(former) = self.former.take() {
            tracing::info!(pid = former.worker.pid(), "the former worker has ended");
        }
    }

    fn blame_former(&mut self, outcome: Result<(), ChannelError>) {
        let Err(error) = outcome else { return };
        let Some(former) = &self.former else { return };
        // One that retires closes its link a moment before it has ended.
        if !matches!(error, ChannelError::Gone) {
            tracing::error!(%error, "cannot speak to the former worker");
            former.worker.kill();
        }
    }
}

/// Messages heard before others get their turn.
const TURN: usize = 64;
