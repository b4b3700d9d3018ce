//! Answers the worker's questions.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use node_agent_handover::{Answer, Ask, InPod, Job, JobDone, Kind, ToWorker};
use node_agent_namespace::{Netns, NetnsError};
use tunnel_sockets::{Family, SocketKind, SocketsError};

use crate::hand::{Hand, lasting, overdue, passing, without_namespace};
use crate::holder::Holder;

/// Hands at work at the same time; further work waits.
const HANDS: usize = 16;
/// Work that may wait for a hand.
const WAITING: usize = 1024;
/// The most sockets made for one question: they ride with one message.
const SOCKETS: usize = 64;
/// No job may take longer.
const JOB_MOST: Duration = Duration::from_secs(60);

/// Work that waits for a hand.
#[derive(Debug)]
pub(crate) struct Waiting {
    id: u64,
    job: Job,
    netns: Option<OwnedFd>,
    until: Instant,
}

impl Holder {
    pub(crate) fn asked(&mut self, id: u64, ask: Ask, fds: Vec<OwnedFd>, now: Instant) {
        let (answer, fds) = match ask {
            Ask::Pod { pod, what } => self.about_pod(&Arc::from(pod), &what, fds),
            Ask::Namespace { path } => namespace(&path),
            Ask::Job { job, within_ms } => {
                if let (Job::Detect { .. }, Some(backend)) = (&job, self.detected) {
                    let known = Answer::Job(JobDone::Detected(backend));
                    return self.answer(id, known, Vec::new());
                }
                if self.waiting.len() >= WAITING {
                    let why = "too much work in namespaces waits; the node is overloaded";
                    return self.answer(id, passing(why.to_owned()), Vec::new());
                }
                let until = now + Duration::from_millis(within_ms).min(JOB_MOST);
                let netns = fds.into_iter().next();
                self.waiting.push_back(Waiting {
                    id,
                    job,
                    netns,
                    until,
                });
                return self.employ_hands(now);
            }
        };
        self.answer(id, answer, fds);
    }

    pub(crate) fn answer(&mut self, id: u64, answer: Answer, fds: Vec<OwnedFd>) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        let outcome = worker.tell(&ToWorker::Answer { id, answer }, fds);
        self.blame_worker(outcome);
    }

    /// Gives waiting work to hands, as many as may be at work.
    pub(crate) fn employ_hands(&mut self, now: Instant) {
        while self.hands.len() < HANDS
            && let Some(Waiting {
                id,
                job,
                netns,
                until,
            }) = self.waiting.pop_front()
        {
            // Whoever asked has given it up by now, and may have asked for the opposite since.
            if until <= now {
                self.answer(id, overdue(), Vec::new());
                continue;
            }
            match Hand::start(id, &job, netns, &self.settings.places, until) {
                Ok(hand) => self.hands.push(hand),
                Err(error) => {
                    let why = format!("cannot start a process to work in the namespace: {error}");
                    self.answer(id, passing(why), Vec::new());
                }
            }
        }
    }

    pub(crate) fn about_pod(
        &mut self,
        pod: &Arc<str>,
        what: &InPod,
        fds: Vec<OwnedFd>,
    ) -> (Answer, Vec<OwnedFd>) {
        match *what {
            InPod::Open { ipv6 } => self.open(pod, ipv6, fds),
            InPod::Make { ipv6, kind, count } => {
                let family = if ipv6 { Family::V6 } else { Family::V4 };
                let count = count.min(SOCKETS);
                match self.namespaces.make(pod, family, kind_of(kind), count) {
                    Ok(made) => (Answer::Made, made),
                    Err(error) => failed(&error),
                }
            }
            InPod::Close => {
                let known = self.namespaces.close(pod);
                (Answer::Closed { known }, Vec::new())
            }
        }
    }

    fn open(&mut self, pod: &Arc<str>, ipv6: bool, fds: Vec<OwnedFd>) -> (Answer, Vec<OwnedFd>) {
        // A descriptor from elsewhere: the worker must not make us listen on the node itself.
        let netns = match fds.into_iter().next().map(Netns::from_fd) {
            Some(Ok(netns)) => netns,
            Some(Err(error)) => return (lasting(error.to_string()), Vec::new()),
            None => return (without_namespace(), Vec::new()),
        };
        match self.namespaces.open(pod, netns.into(), ipv6) {
            Ok(opened) => {
                self.claimed.insert(Arc::clone(pod));
                let answer = Answer::Opened {
                    ipv6: opened.ipv6,
                    reused: opened.reused,
                };
                let listeners = opened.listeners.into_iter();
                (answer, listeners.map(|(_, l)| l.into()).collect())
            }
            Err(error) => failed(&error),
        }
    }
}

/// A name whose namespace is gone may be left as an ordinary file, and a process id may have come to
/// mean a process of the node itself.
fn namespace(path: &str) -> (Answer, Vec<OwnedFd>) {
    match Netns::open(path) {
        Ok(netns) => (Answer::Namespace, vec![netns.into()]),
        Err(NetnsError::Gone { .. } | NetnsError::NotANamespace | NetnsError::Host) => {
            (Answer::Namespace, Vec::new())
        }
        Err(error) => (passing(error.to_string()), Vec::new()),
    }
}

fn failed(error: &SocketsError) -> (Answer, Vec<OwnedFd>) {
    let answer = Answer::Failed {
        why: error.to_string(),
        passing: error.is_passing(),
        unknown_pod: matches!(error, SocketsError::UnknownPod(_)),
    };
    (answer, Vec::new())
}

fn kind_of(kind: Kind) -> SocketKind {
    match kind {
        Kind::Outbound => SocketKind::Outbound,
        Kind::Transparent => SocketKind::Transparent,
        Kind::Captured => SocketKind::Captured,
    }
}
