//! The one owner of pods' namespaces and listeners.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use nix::sys::stat::fstat;
use tokio::sync::mpsc;

use crate::options::{self, SocketKind};
use crate::request::{Family, ListenerSet, Port, Request, SocketsError};

/// Pods' namespaces and the listeners in them.
///
/// The calling thread enters a pod's namespace for one request and is back at its end. Whoever owns
/// this has one thread that also starts programs: should the way back ever fail, the process ends at
/// once, because whatever it did next would be done inside a pod.
pub struct Namespaces {
    home: OwnedFd,
    pods: BTreeMap<Arc<str>, Pod>,
}

/// What is kept of a pod, for a successor.
#[derive(Debug)]
pub struct KeptPod<'a> {
    /// The pod's key.
    pub pod: &'a Arc<str>,
    /// Its namespace.
    pub netns: &'a OwnedFd,
    /// Its listeners, in the order of [`Port::ALL`].
    pub listeners: Vec<&'a TcpListener>,
    /// Whether they accept IPv6 too.
    pub ipv6: bool,
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

impl std::fmt::Debug for Namespaces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Namespaces")
            .field("pods", &self.pods.len())
            .finish_non_exhaustive()
    }
}

impl Namespaces {
    /// None yet.
    ///
    /// # Errors
    /// When the thread's own namespace cannot be opened.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            home: File::open("/proc/thread-self/ns/net")?.into(),
            pods: BTreeMap::new(),
        })
    }

    /// Answers requests on this thread until the last handle is gone: for programs whose data plane
    /// and owner of namespaces are one process, as in tests.
    pub fn serve(mut self, mut inbox: mpsc::UnboundedReceiver<Request>) {
        // A reply nobody waits for any more is dropped: its descriptors close themselves.
        while let Some(request) = inbox.blocking_recv() {
            match request {
                Request::Open {
                    pod,
                    netns,
                    ipv6,
                    reply,
                } => drop(reply.send(self.open(&pod, netns, ipv6))),
                Request::Make {
                    pod,
                    family,
                    kind,
                    count,
                    reply,
                } => drop(reply.send(self.make(&pod, family, kind, count))),
                Request::Close { pod, reply } => {
                    let _unheard = reply.send(self.close(&pod));
                }
            }
        }
    }

    /// Opens the pod's three listeners and keeps them with the namespace under `pod`. If the pod is
    /// open already in the same namespace, its listeners are handed out again; in another
    /// namespace, the old ones are closed first.
    ///
    /// # Errors
    /// See [`SocketsError`]; on error nothing is kept.
    pub fn open(
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
        let inside = self.enter(&netns).map_err(enter)?;
        let listening = listen_all(pod, ipv6);
        drop(inside);
        let (listeners, ipv6) = listening?;
        let opened = Pod {
            netns,
            id,
            listeners,
            ipv6,
        };
        let duplicates = duplicate(&opened, false)?;
        self.pods.insert(Arc::clone(pod), opened);
        Ok(duplicates)
    }

    /// Makes `count` unconnected, non-blocking TCP sockets in the pod's namespace.
    ///
    /// # Errors
    /// See [`SocketsError`].
    pub fn make(
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
        let inside = self.enter(&known.netns);
        let _inside = inside.map_err(|source| SocketsError::Enter {
            pod: Arc::clone(pod),
            source,
        })?;
        (0..count)
            .map(|_| options::stream(family, kind))
            .collect::<io::Result<Vec<_>>>()
            .map_err(|source| SocketsError::Socket {
                pod: Arc::clone(pod),
                source,
            })
    }

    /// Forgets the pod: its listeners are closed once no duplicate is left, its namespace is let
    /// go. Returns whether it was known.
    pub fn close(&mut self, pod: &Arc<str>) -> bool {
        self.pods.remove(pod).is_some()
    }

    /// Takes over a pod from a predecessor. Its listeners go on without a gap.
    ///
    /// # Errors
    /// When the descriptor is no namespace, or there is not one listener for each port.
    pub fn adopt(
        &mut self,
        pod: &Arc<str>,
        netns: OwnedFd,
        listeners: Vec<OwnedFd>,
        ipv6: bool,
    ) -> io::Result<()> {
        if listeners.len() != Port::ALL.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} listeners came with pod {pod}", listeners.len()),
            ));
        }
        let id = identify(&netns)?;
        let listeners = Port::ALL
            .into_iter()
            .zip(listeners.into_iter().map(TcpListener::from))
            .collect();
        let adopted = Pod {
            netns,
            id,
            listeners,
            ipv6,
        };
        self.close(pod);
        self.pods.insert(Arc::clone(pod), adopted);
        Ok(())
    }

    /// Everything that is kept.
    pub fn kept(&self) -> impl Iterator<Item = KeptPod<'_>> {
        self.pods.iter().map(|(pod, kept)| KeptPod {
            pod,
            netns: &kept.netns,
            listeners: kept
                .listeners
                .iter()
                .map(|(_, listener)| listener)
                .collect(),
            ipv6: kept.ipv6,
        })
    }

    fn enter(&self, netns: &OwnedFd) -> io::Result<Inside<'_>> {
        setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?;
        Ok(Inside { home: &self.home })
    }
}

/// This thread is in a pod's namespace; it goes home when this is dropped.
struct Inside<'a> {
    home: &'a OwnedFd,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if let Err(error) = setns(self.home.as_fd(), CloneFlags::CLONE_NEWNET) {
            tracing::error!(%error, "cannot leave a pod's network namespace; this process ends");
            std::process::abort();
        }
    }
}

fn identify(netns: &OwnedFd) -> io::Result<NamespaceId> {
    let facts = fstat(netns)?;
    Ok(NamespaceId {
        device: facts.st_dev,
        inode: facts.st_ino,
    })
}

/// Listens on all ports of the namespace this thread is in, on both families if it has IPv6.
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
