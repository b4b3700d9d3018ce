//! The one owner of pods' namespaces and listeners.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;

use crate::options::{self, SocketKind};
use crate::request::{Family, ListenerSet, Port, Request, Sockets, SocketsError};

/// The thread that owns namespaces and listeners. It ends when the last [`Sockets`] is dropped.
///
/// It enters a pod's namespace for one request and does not go back: no other work ever runs on
/// this thread, so there is no return that could fail and leave foreign code in a pod.
#[derive(Debug)]
pub struct Keeper {
    thread: thread::JoinHandle<()>,
}

impl Keeper {
    /// Starts the keeper's thread.
    ///
    /// # Errors
    /// When the process cannot start a thread or cannot open its own namespace.
    pub fn start() -> io::Result<(Self, Sockets)> {
        let home = File::open("/proc/thread-self/ns/net")?;
        let (requests, inbox) = mpsc::channel();
        let thread = thread::Builder::new()
            .name("keeper".into())
            .spawn(move || {
                State {
                    home: home.into(),
                    pods: HashMap::new(),
                    inside: None,
                }
                .run(&inbox);
            })?;
        Ok((Self { thread }, Sockets { requests }))
    }

    /// Waits for the thread to end; it does once every [`Sockets`] is gone.
    ///
    /// # Errors
    /// When the thread ended by a panic.
    pub fn join(self) -> thread::Result<()> {
        self.thread.join()
    }
}

struct Pod {
    netns: OwnedFd,
    id: NamespaceId,
    listeners: Vec<(Port, TcpListener)>,
    ipv6: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct NamespaceId {
    device: u64,
    inode: u64,
}

struct State {
    home: OwnedFd,
    pods: HashMap<Arc<str>, Pod>,
    /// Which pod's namespace this thread is in; `None` is the agent's own.
    inside: Option<Arc<str>>,
}

impl State {
    fn run(mut self, inbox: &mpsc::Receiver<Request>) {
        // A reply nobody waits for any more is dropped: its descriptors close themselves.
        while let Ok(request) = inbox.recv() {
            match request {
                Request::Open {
                    pod,
                    netns,
                    ipv6,
                    reply,
                } => {
                    drop(reply.send(self.open(&pod, netns, ipv6)));
                }
                Request::Make {
                    pod,
                    family,
                    kind,
                    count,
                    reply,
                } => {
                    drop(reply.send(self.make(&pod, family, kind, count)));
                }
                Request::Close { pod, reply } => drop(reply.send(self.close(&pod))),
            }
        }
    }

    fn open(
        &mut self,
        pod: &Arc<str>,
        netns: OwnedFd,
        ipv6: bool,
    ) -> Result<ListenerSet, SocketsError> {
        let enter = |source| SocketsError::Enter {
            pod: Arc::clone(pod),
            source,
        };
        let id = identify(&netns).map_err(enter)?;
        if let Some(known) = self.pods.get(pod)
            && known.id == id
        {
            return duplicate(known, true);
        }
        self.close(pod);
        self.enter(pod, &netns).map_err(enter)?;
        let (opened, duplicates) = match listen(pod, netns, id, ipv6) {
            Ok(listening) => listening,
            Err(error) => {
                // The pod is not served, so nothing would ever make this thread leave it.
                self.close(pod);
                return Err(error);
            }
        };
        self.pods.insert(Arc::clone(pod), opened);
        Ok(duplicates)
    }

    fn make(
        &mut self,
        pod: &Arc<str>,
        family: Family,
        kind: SocketKind,
        count: usize,
    ) -> Result<Vec<OwnedFd>, SocketsError> {
        let known = self
            .pods
            .get(pod)
            .ok_or_else(|| SocketsError::UnknownPod(Arc::clone(pod)))?;
        if self.inside.as_ref() != Some(pod) {
            setns(known.netns.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|e| {
                SocketsError::Enter {
                    pod: Arc::clone(pod),
                    source: e.into(),
                }
            })?;
            self.inside = Some(Arc::clone(pod));
        }
        (0..count)
            .map(|_| options::stream(family, kind))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|source| SocketsError::Socket {
                pod: Arc::clone(pod),
                source,
            })
    }

    fn close(&mut self, pod: &Arc<str>) -> bool {
        if self.inside.as_ref() == Some(pod) {
            // A thread inside a namespace keeps it alive after its pod is gone.
            match setns(self.home.as_fd(), CloneFlags::CLONE_NEWNET) {
                Ok(()) => self.inside = None,
                Err(error) => {
                    tracing::warn!(%pod, %error, "namespace of a removed pod stays open until the next pod is entered");
                }
            }
        }
        self.pods.remove(pod).is_some()
    }

    fn enter(&mut self, pod: &Arc<str>, netns: &OwnedFd) -> io::Result<()> {
        self.inside = None;
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
        self.inside = Some(Arc::clone(pod));
        Ok(())
    }
}

fn identify(netns: &OwnedFd) -> io::Result<NamespaceId> {
    let facts = fstat(netns)?;
    Ok(NamespaceId {
        device: facts.st_dev,
        inode: facts.st_ino,
    })
}

/// Listens in the namespace this thread is in; gives what to keep and what to hand out.
fn listen(
    pod: &Arc<str>,
    netns: OwnedFd,
    id: NamespaceId,
    ipv6: bool,
) -> Result<(Pod, ListenerSet), SocketsError> {
    let (listeners, ipv6) = listen_all(pod, ipv6)?;
    let opened = Pod {
        netns,
        id,
        listeners,
        ipv6,
    };
    let duplicates = duplicate(&opened, false)?;
    Ok((opened, duplicates))
}

/// Listens on all ports, on both families if the kernel of this namespace has IPv6.
fn listen_all(
    pod: &Arc<str>,
    ipv6: bool,
) -> Result<(Vec<(Port, TcpListener)>, bool), SocketsError> {
    let mut ipv6 = ipv6;
    let mut listeners = Vec::with_capacity(Port::ALL.len());
    for port in Port::ALL {
        let opened = match options::listener(port, ipv6) {
            Err(error) if ipv6 && no_ipv6(&error) => {
                ipv6 = false;
                options::listener(port, false)
            }
            other => other,
        };
        let listener = opened.map_err(|source| SocketsError::Listen {
            pod: Arc::clone(pod),
            port: port.number(),
            source,
        })?;
        listeners.push((port, listener));
    }
    Ok((listeners, ipv6))
}

fn no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(nix::errno::Errno::from_raw),
        Some(nix::errno::Errno::EAFNOSUPPORT | nix::errno::Errno::EADDRNOTAVAIL)
    )
}

fn duplicate(pod: &Pod, reused: bool) -> Result<ListenerSet, SocketsError> {
    let listeners = pod
        .listeners
        .iter()
        .map(|(port, listener)| listener.try_clone().map(|l| (*port, l)))
        .collect::<io::Result<Vec<_>>>()
        .map_err(SocketsError::Duplicate)?;
    Ok(ListenerSet {
        listeners,
        ipv6: pod.ipv6,
        reused,
    })
}
