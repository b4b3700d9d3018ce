//! The way to the data plane for whoever decides which pods are in the mesh.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tunnel_model::{Identity, PodUid};
use tunnel_sockets::{Port, Sockets, SocketsError};

use crate::application::Ports;
use crate::crew::{Crew, Threads, locked};
use crate::pod::PodFacts;
use crate::probe::Tickets;
use crate::settings::{Parts, TunnelSettings};
use crate::shard::{Command, Shard};

/// A pod that is to be served.
#[derive(Debug)]
pub struct AdmitPod {
    /// Kubernetes uid, or what stands for it.
    pub uid: PodUid,
    /// Name.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Identity its certificate carries.
    pub identity: Identity,
    /// Its network namespace.
    pub netns: OwnedFd,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
}

/// Why a pod cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError {
    /// Its listeners could not be opened.
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    /// A thread could not take its listeners.
    #[error("cannot serve the pod's listeners: {0}; raise the agent's limit of open files")]
    Listen(std::io::Error),
    /// The data plane has stopped.
    #[error("the data plane is shutting down; retry after the agent's restart")]
    Stopped,
}

/// What the data plane knows of a pod.
#[derive(Clone, Debug)]
pub struct PodStatus {
    /// The pod.
    pub uid: PodUid,
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its identity.
    pub identity: Identity,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug)]
pub struct DrainReport {
    /// Connections that were still open at the deadline.
    pub left: usize,
}

/// The running data plane; its threads end when this and every handle are gone.
#[derive(Debug)]
pub struct Tunnel {
    threads: Threads,
}

/// Admits and releases pods.
#[derive(Clone, Debug)]
pub struct TunnelHandle {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    crew: Crew,
    pub(crate) sockets: Sockets,
    ipv6: bool,
    pub(crate) tickets: Tickets,
    pods: Mutex<BTreeMap<PodUid, PodStatus>>,
    telemetry: tunnel_telemetry::Telemetry,
}

impl Tunnel {
    /// Starts the data plane's threads.
    ///
    /// # Errors
    /// When the process cannot start threads or event loops.
    pub fn start(
        settings: &TunnelSettings,
        parts: &Parts,
    ) -> std::io::Result<(Self, TunnelHandle)> {
        let tickets = Tickets::default();
        let crew = Crew::start(settings.clone(), parts.clone(), tickets.clone())?;
        let threads = crew.threads();
        let inner = Inner {
            crew,
            sockets: parts.sockets.clone(),
            ipv6: settings.ipv6,
            tickets,
            pods: Mutex::default(),
            telemetry: parts.telemetry.clone(),
        };
        Ok((
            Self { threads },
            TunnelHandle {
                inner: Arc::new(inner),
            },
        ))
    }

    /// Waits for the threads to end; every [`TunnelHandle`] must be gone.
    pub fn join(self) {
        let threads = std::mem::take(&mut *locked(&self.threads));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the data plane ended by a panic");
            }
        }
    }
}

impl TunnelHandle {
    /// Opens the pod's listeners and starts to serve them. Admitting a pod again in the same
    /// namespace changes nothing; in another one, the old is let go first.
    ///
    /// # Errors
    /// See [`AdmitError`]; nothing is left open then.
    pub async fn admit(&self, pod: AdmitPod) -> Result<(), AdmitError> {
        let key: Arc<str> = Arc::from(pod.uid.to_string());
        let opened = self
            .inner
            .sockets
            .open(Arc::clone(&key), pod.netns, self.inner.ipv6)
            .await?;
        let status = PodStatus {
            uid: pod.uid.clone(),
            name: Arc::clone(&pod.name),
            namespace: Arc::clone(&pod.namespace),
            identity: pod.identity.clone(),
            ips: pod.ips,
        };
        let known = self
            .pods()
            .get(&pod.uid)
            .is_some_and(|old| old.identity == pod.identity);
        if known && opened.reused {
            self.pods().insert(pod.uid, status);
            return Ok(());
        }
        let facts = PodFacts {
            uid: pod.uid.clone(),
            key: Arc::clone(&key),
            name: pod.name,
            namespace: pod.namespace,
            identity: pod.identity,
            ports: Arc::new(Ports::new(getrandom::u64().unwrap_or(0))),
        };
        if let Err(error) = self.distribute(&facts, opened.listeners).await {
            self.forget(&key).await;
            return Err(error);
        }
        let replaced = self.pods().insert(pod.uid, status);
        let gauges = self.inner.telemetry.pods();
        gauges.started.increment();
        if replaced.is_some() {
            gauges.stopped.increment();
        } else {
            gauges.active.add(1);
        }
        Ok(())
    }

    async fn distribute(
        &self,
        facts: &PodFacts,
        listeners: Vec<(Port, std::net::TcpListener)>,
    ) -> Result<(), AdmitError> {
        for shard in self.inner.crew.assign(&facts.key) {
            let own = listeners
                .iter()
                .map(|(port, listener)| listener.try_clone().map(|l| (*port, l)))
                .collect::<std::io::Result<Vec<_>>>()
                .map_err(AdmitError::Listen)?;
            let facts = facts.clone();
            shard
                .ask(|reply| Command::Admit {
                    facts,
                    listeners: own,
                    reply,
                })
                .await
                .ok_or(AdmitError::Stopped)?
                .map_err(AdmitError::Listen)?;
        }
        Ok(())
    }

    /// Lets a pod go that is gone: its peers are told, its connections end, its listeners and its
    /// namespace are closed. Unknown pods are no error.
    pub async fn release(&self, uid: &PodUid) {
        let key: Arc<str> = Arc::from(uid.to_string());
        self.forget(&key).await;
        if self.pods().remove(uid).is_some() {
            let gauges = self.inner.telemetry.pods();
            gauges.active.add(-1);
            gauges.stopped.increment();
        }
    }

    async fn forget(&self, key: &Arc<str>) {
        for shard in self.inner.crew.of(key) {
            shard
                .ask(|reply| Command::Release {
                    key: Arc::clone(key),
                    reply,
                })
                .await;
        }
        self.inner.crew.forget(key);
        self.inner.sockets.close(Arc::clone(key)).await;
    }

    /// Every pod that is served.
    #[must_use]
    pub fn status(&self) -> Vec<PodStatus> {
        self.pods().values().cloned().collect()
    }

    /// Connections of each pod now, by uid.
    pub async fn connections(&self) -> HashMap<Arc<str>, usize> {
        count(&self.inner.crew.all()).await
    }

    /// Stops accepting, tells peers to open no more streams, and waits until the last connection
    /// has ended or `patience` is over.
    pub async fn drain(&self, patience: Duration) -> DrainReport {
        let deadline = Instant::now() + patience;
        let all = self.inner.crew.all();
        drain_with(&all, |reply| Command::Drain { deadline, reply }).await
    }

    /// Lets a pod finish that leaves the mesh and stays: tells its peers to open no more streams,
    /// and waits until its last connection has ended or `patience` is over. To be called once the
    /// pod's rules and the mesh no longer lead here; what still comes is served until
    /// [`TunnelHandle::release`], which ends it. Unknown pods have nothing left.
    pub async fn drain_pod(&self, uid: &PodUid, patience: Duration) -> DrainReport {
        let deadline = Instant::now() + patience;
        let key: Arc<str> = Arc::from(uid.to_string());
        let shards = self.inner.crew.of(&key);
        loop {
            let report = drain_with(&shards, |reply| Command::DrainPod {
                key: Arc::clone(&key),
                deadline,
                reply,
            })
            .await;
            // A thread that was done before the others may have been called since.
            let called = count(&shards).await.get(&key).is_some_and(|n| *n > 0);
            if report.left > 0 || !called || Instant::now() >= deadline {
                return report;
            }
        }
    }

    /// Whether every thread of the data plane answers within `patience`.
    pub async fn alive(&self, patience: Duration) -> bool {
        let shards = self.inner.crew.all();
        let all = ask_all(&shards, |reply| Command::Ping { reply });
        let answers = timeout(patience, all).await;
        answers.is_ok_and(|answers| answers.iter().all(Option::is_some))
    }

    pub(crate) fn pods(&self) -> std::sync::MutexGuard<'_, BTreeMap<PodUid, PodStatus>> {
        locked(&self.inner.pods)
    }
}

/// Connections of each pod on these threads, by uid.
async fn count(shards: &[Shard]) -> HashMap<Arc<str>, usize> {
    let mut total: HashMap<Arc<str>, usize> = HashMap::new();
    let counts = ask_all(shards, |reply| Command::Count { reply }).await;
    for (key, count) in counts.into_iter().flatten().flatten() {
        *total.entry(key).or_default() += count;
    }
    total
}

async fn drain_with(
    shards: &[Shard],
    command: impl Fn(oneshot::Sender<usize>) -> Command,
) -> DrainReport {
    let left = ask_all(shards, command).await;
    DrainReport {
        left: left.into_iter().flatten().sum(),
    }
}

/// Asks all before any is waited for; nothing is the answer of a thread that has ended.
async fn ask_all<T>(
    shards: &[Shard],
    command: impl Fn(oneshot::Sender<T>) -> Command,
) -> Vec<Option<T>> {
    let asked: Vec<_> = shards.iter().map(|shard| shard.send(&command)).collect();
    let mut answers = Vec::with_capacity(asked.len());
    for answer in asked {
        answers.push(match answer {
            Some(answer) => answer.await.ok(),
            None => None,
        });
    }
    answers
}
