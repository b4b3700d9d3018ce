//! Questions to the holder, and who waits for the answers.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use node_agent_handover::{Answer, Ask, InPod, Kind};
use tokio::sync::oneshot;
use tunnel_sockets::{Family, ListenerSet, Port, Request, SocketKind, SocketsError};

/// The holder could not do what was asked; the text says whose fault it is and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub(crate) struct HolderFailure {
    why: String,
    /// The same may work a moment later.
    pub(crate) passing: bool,
}

impl HolderFailure {
    pub(super) fn stopping() -> Self {
        Self {
            why: "the agent is shutting down, retry after its restart".to_owned(),
            passing: true,
        }
    }

    pub(super) fn out_of_turn(answer: &Answer) -> Self {
        Self {
            why: format!("the holder answered another question ({answer:?}): report this"),
            passing: false,
        }
    }
}

/// Who waits for an answer.
#[derive(Debug)]
pub(super) enum Reply {
    Job(oneshot::Sender<Result<Answer, HolderFailure>>),
    Namespace(oneshot::Sender<Result<Option<OwnedFd>, HolderFailure>>),
    Open(Arc<str>, oneshot::Sender<Result<ListenerSet, SocketsError>>),
    Make(
        Arc<str>,
        oneshot::Sender<Result<Vec<OwnedFd>, SocketsError>>,
    ),
    Close(oneshot::Sender<bool>),
}

impl Reply {
    /// Whether nobody waits any more.
    pub(super) fn is_abandoned(&self) -> bool {
        match self {
            Self::Job(reply) => reply.is_closed(),
            Self::Namespace(reply) => reply.is_closed(),
            Self::Make(_, reply) => reply.is_closed(),
            // These have an effect that must come about all the same.
            Self::Open(..) | Self::Close(_) => false,
        }
    }
}

/// A question, with what rides along; it can be asked again.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) ask: Ask,
    pub(super) fds: Vec<OwnedFd>,
    pub(super) reply: Reply,
}

impl From<Request> for Question {
    fn from(request: Request) -> Self {
        let about = |pod: &Arc<str>, what| Ask::Pod {
            pod: pod.to_string(),
            what,
        };
        match request {
            Request::Open {
                pod,
                netns,
                ipv6,
                reply,
            } => Self {
                ask: about(&pod, InPod::Open { ipv6 }),
                fds: vec![netns],
                reply: Reply::Open(pod, reply),
            },
            Request::Make {
                pod,
                family,
                kind,
                count,
                reply,
            } => {
                let make = InPod::Make {
                    ipv6: family == Family::V6,
                    kind: kind_of(kind),
                    count,
                };
                Self {
                    ask: about(&pod, make),
                    fds: Vec::new(),
                    reply: Reply::Make(pod, reply),
                }
            }
            Request::Close { pod, reply } => Self {
                ask: about(&pod, InPod::Close),
                fds: Vec::new(),
                reply: Reply::Close(reply),
            },
        }
    }
}

/// Gives an answer to who waits for it; who has gone away meanwhile does not need it.
pub(super) fn give(reply: Reply, answer: Answer, fds: Vec<OwnedFd>) {
    match reply {
        Reply::Job(reply) => drop(reply.send(job(answer))),
        Reply::Namespace(reply) => drop(reply.send(namespace(answer, fds))),
        Reply::Open(pod, reply) => drop(reply.send(opened(&pod, answer, fds))),
        Reply::Make(pod, reply) => drop(reply.send(made(&pod, answer, fds))),
        Reply::Close(reply) => {
            let _gone = reply.send(matches!(answer, Answer::Closed { known: true }));
        }
    }
}

fn job(answer: Answer) -> Result<Answer, HolderFailure> {
    match answer {
        Answer::Failed { why, passing, .. } => Err(HolderFailure { why, passing }),
        answer => Ok(answer),
    }
}

fn namespace(answer: Answer, fds: Vec<OwnedFd>) -> Result<Option<OwnedFd>, HolderFailure> {
    match answer {
        Answer::Namespace => Ok(fds.into_iter().next()),
        Answer::Failed { why, passing, .. } => Err(HolderFailure { why, passing }),
        other => Err(HolderFailure::out_of_turn(&other)),
    }
}

fn opened(pod: &Arc<str>, answer: Answer, fds: Vec<OwnedFd>) -> Result<ListenerSet, SocketsError> {
    match answer {
        Answer::Opened { ipv6, reused } if fds.len() == Port::ALL.len() => Ok(ListenerSet {
            listeners: Port::ALL
                .into_iter()
                .zip(fds.into_iter().map(TcpListener::from))
                .collect(),
            ipv6,
            reused,
        }),
        Answer::Opened { .. } => Err(SocketsError::Holder {
            why: "the pod's listeners were lost on the way to the worker: Too many open files there; raise its limit of \
                  open files"
                .to_owned(),
            passing: true,
        }),
        other => Err(failed(pod, other)),
    }
}

fn made(pod: &Arc<str>, answer: Answer, fds: Vec<OwnedFd>) -> Result<Vec<OwnedFd>, SocketsError> {
    match answer {
        Answer::Made => Ok(fds),
        other => Err(failed(pod, other)),
    }
}

fn failed(pod: &Arc<str>, answer: Answer) -> SocketsError {
    match answer {
        Answer::Failed {
            unknown_pod: true, ..
        } => SocketsError::UnknownPod(Arc::clone(pod)),
        Answer::Failed { why, passing, .. } => SocketsError::Holder { why, passing },
        other => SocketsError::Holder {
            why: HolderFailure::out_of_turn(&other).to_string(),
            passing: false,
        },
    }
}

fn kind_of(kind: SocketKind) -> Kind {
    match kind {
        SocketKind::Outbound => Kind::Outbound,
        SocketKind::Transparent => Kind::Transparent,
        SocketKind::Captured => Kind::Captured,
    }
}
