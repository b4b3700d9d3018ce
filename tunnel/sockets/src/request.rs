//! The request channel to whoever owns the namespaces, and what travels on it.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::options::SocketKind;

/// Address family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`.
    V6,
}

impl Family {
    /// The family an address belongs to; callers canonicalise v4-mapped addresses first.
    #[must_use]
    pub const fn of(address: &IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// The ports the tunnel listens on inside a pod. The numbers are a contract with the redirect
/// rules and with other HBONE peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// 15001: connections the pod makes, captured by its rules.
    Outbound,
    /// 15006: plaintext connections to the pod, captured by its rules.
    InboundPlaintext,
    /// 15008: HBONE; peers dial it directly.
    InboundHbone,
}

impl Port {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Outbound, Self::InboundPlaintext, Self::InboundHbone];

    /// The TCP port number.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Outbound => 15001,
            Self::InboundPlaintext => 15006,
            Self::InboundHbone => 15008,
        }
    }
}

/// Duplicates of a pod's listeners; the originals stay open.
#[derive(Debug)]
pub struct ListenerSet {
    /// One non-blocking listener for each port.
    pub listeners: Vec<(Port, TcpListener)>,
    /// Whether they also accept IPv6.
    pub ipv6: bool,
    /// Whether they were open already.
    pub reused: bool,
}

/// Why what was asked could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// Nobody answers any more: the process is shutting down.
    #[error("the agent is shutting down, retry after its restart")]
    Stopped,
    /// The holder could not; its own words.
    #[error("{why}")]
    Holder {
        /// Why.
        why: String,
        /// The same may work a moment later.
        passing: bool,
    },
    /// No such pod: it was never opened, or has been closed meanwhile.
    #[error("pod {0} has no open namespace; it left, or was never admitted")]
    UnknownPod(Arc<str>),
    /// The namespace could not be entered.
    #[error(
        "cannot enter the network namespace of pod {pod}: {source}; the agent needs CAP_SYS_ADMIN"
    )]
    Enter {
        /// The pod.
        pod: Arc<str>,
        /// What the kernel said.
        source: io::Error,
    },
    /// A listener's port is taken, or another bind failure.
    #[error(
        "cannot listen on port {port} in the namespace of pod {pod}: {source}; {}",
        listen_advice(source)
    )]
    Listen {
        /// The pod.
        pod: Arc<str>,
        /// The port that could not be opened.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
    /// A socket could not be made or configured.
    #[error("cannot create a socket in the namespace of pod {pod}: {source}")]
    Socket {
        /// The pod.
        pod: Arc<str>,
        /// What the kernel said.
        source: io::Error,
    },
    /// A descriptor could not be duplicated.
    #[error("cannot duplicate a descriptor: {0}; raise the agent's limit of open files")]
    Duplicate(io::Error),
}

fn listen_advice(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::AddrInUse {
        "a process of the pod uses this port, which is reserved for the mesh"
    } else {
        "the node may be short of descriptors or memory; it is tried again"
    }
}

/// What is asked of the owner of the namespaces.
#[derive(Debug)]
pub enum Request {
    /// See [`Sockets::open`].
    Open {
        /// The pod's key.
        pod: Arc<str>,
        /// Its namespace.
        netns: OwnedFd,
        /// Listen on IPv6 too.
        ipv6: bool,
        /// Where the answer goes; nobody may be waiting for it any more.
        reply: oneshot::Sender<Result<ListenerSet, SocketsError>>,
    },
    /// See [`Sockets::make`].
    Make {
        /// The pod's key.
        pod: Arc<str>,
        /// The sockets' family.
        family: Family,
        /// What they are for.
        kind: SocketKind,
        /// How many.
        count: usize,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Vec<OwnedFd>, SocketsError>>,
    },
    /// See [`Sockets::close`].
    Close {
        /// The pod's key.
        pod: Arc<str>,
        /// Where the answer goes.
        reply: oneshot::Sender<bool>,
    },
}

/// Handle to the owner of the namespaces: the only way by which what moves bytes reaches them.
#[derive(Clone, Debug)]
pub struct Sockets {
    requests: mpsc::UnboundedSender<Request>,
}

impl Sockets {
    /// A handle, and where its requests come out.
    #[must_use]
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Request>) {
        let (requests, inbox) = mpsc::unbounded_channel();
        (Self { requests }, inbox)
    }

    /// Opens the pod's three listeners and keeps them with the namespace under `pod`. If the pod is
    /// open already in the same namespace, its existing listeners are handed out again; in another
    /// namespace, the old ones are closed first.
    ///
    /// # Errors
    /// See [`SocketsError`]; on error nothing is kept.
    pub async fn open(
        &self,
        pod: Arc<str>,
        netns: OwnedFd,
        ipv6: bool,
    ) -> Result<ListenerSet, SocketsError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Open {
            pod,
            netns,
            ipv6,
            reply,
        })?;
        answer.await.map_err(|_| SocketsError::Stopped)?
    }

    /// Makes `count` unconnected, non-blocking TCP sockets in the pod's namespace.
    ///
    /// # Errors
    /// See [`SocketsError`].
    pub async fn make(
        &self,
        pod: Arc<str>,
        family: Family,
        kind: SocketKind,
        count: usize,
    ) -> Result<Vec<OwnedFd>, SocketsError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Make {
            pod,
            family,
            kind,
            count,
            reply,
        })?;
        answer.await.map_err(|_| SocketsError::Stopped)?
    }

    /// Forgets the pod: its listeners are closed once no duplicate is left, its namespace is let
    /// go. Returns whether it was known.
    pub async fn close(&self, pod: Arc<str>) -> bool {
        let (reply, answer) = oneshot::channel();
        if self.ask(Request::Close { pod, reply }).is_err() {
            return false;
        }
        answer.await.unwrap_or(false)
    }

    fn ask(&self, request: Request) -> Result<(), SocketsError> {
        self.requests
            .send(request)
            .map_err(|_| SocketsError::Stopped)
    }
}
