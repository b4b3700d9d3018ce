//! A scripted istiod in the place where an agent looks for one: it tells a mesh over the incremental discovery protocol
//! and signs for whoever asks.

mod crowd;
mod messages;
mod stream;

pub use crowd::Crowd;
pub use stream::Stream;

use crate::netns::Netns;
use crate::world::Pod;
use anyhow::Result;
use messages::{CertificateRequest, CertificateResponse};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::watch;
use tunnel_control::scripted::{NAME, ScriptedAuthority, ScriptedCall, ScriptedServer};

/// What istiod tells, by type and name.
#[derive(Clone, Debug, Default)]
pub struct Told {
    named: [BTreeMap<String, Vec<u8>>; 2],
    /// Told before what is named, which wins.
    crowd: Option<Arc<Crowd>>,
}

/// What a life of istiod makes of the versions that clients hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Of what is held nothing is told again.
    Kept,
    /// They are those of another life: everything is told.
    Lost,
}

/// What it has seen of its clients.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The header of each stream that began.
    pub tokens: Vec<String>,
    /// How many resources each stream began with.
    pub known: Vec<usize>,
    /// What clients rejected.
    pub rejected: Vec<String>,
    /// For whom certificates were asked.
    pub signed: Vec<String>,
    /// The streams, as they began.
    pub streams: Vec<Stream>,
}

/// One life of istiod; a second one may follow at the same address.
#[derive(Debug)]
pub struct Istiod {
    told: watch::Sender<Told>,
    memory: watch::Sender<Memory>,
    cut: watch::Sender<()>,
    stop: watch::Sender<bool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl Told {
    /// A pod in the mesh, with policies by name.
    #[must_use]
    pub fn pod(mut self, pod: &Pod, policies: &[&str]) -> Self {
        let (name, bytes) = messages::workload(pod, policies);
        self.named[0].insert(name, bytes);
        self
    }

    /// A policy that refuses plaintext.
    #[must_use]
    pub fn strict(self, name: &str) -> Self {
        self.policy(messages::strict(name))
    }

    /// A policy that refuses everything.
    #[must_use]
    pub fn closed(self, name: &str) -> Self {
        self.policy(messages::closed(name))
    }

    /// A large mesh beside what else is told, to whoever begins a stream from then on.
    #[must_use]
    pub fn crowd(mut self, crowd: &Arc<Crowd>) -> Self {
        self.crowd = Some(Arc::clone(crowd));
        self
    }

    /// A member of a crowd as it is after so many changes.
    #[must_use]
    pub fn member(mut self, number: u32, revision: u32) -> Self {
        let (name, bytes) = Crowd::workload(number, revision);
        self.named[0].insert(name, bytes);
        self
    }

    /// A resource that no client understands.
    #[must_use]
    pub fn nonsense(mut self, name: &str) -> Self {
        self.named[0].insert(name.to_owned(), vec![0xff, 0xff]);
        self
    }

    fn policy(mut self, (name, bytes): (String, Vec<u8>)) -> Self {
        self.named[1].insert(name, bytes);
        self
    }
}

impl Istiod {
    /// Where an agent finds it.
    pub const PORT: u16 = 15012;
    /// The name it proves.
    pub const NAME: &'static str = NAME;

    /// Begins a life with a new root, which is put where the agent reads it unless it is kept back.
    ///
    /// # Errors
    /// The port is taken, or the file cannot be written.
    pub fn start(netns: &Netns, told: Told, root: Option<&Path>) -> Result<Self> {
        let authority = ScriptedAuthority::new();
        if let Some(root) = root {
            std::fs::write(root, authority.root_pem())?;
        }
        let at = SocketAddr::from(([127, 0, 0, 1], Self::PORT));
        // A socket stays in the namespace in which it was made.
        let listener = netns.run(|| TcpListener::bind(at))??;
        listener.set_nonblocking(true)?;
        let seen = Arc::<Mutex<Seen>>::default();
        let (told, telling) = watch::channel(told);
        let (memory, remembering) = watch::channel(Memory::Kept);
        let (cut, cutting) = watch::channel(());
        let (stop, stopping) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let life = Life {
            authority: Arc::new(authority),
            telling,
            remembering,
            seen: Arc::clone(&seen),
        };
        let orders = Orders { cutting, stopping };
        let thread = std::thread::spawn(move || runtime.block_on(live(life, listener, orders)));
        Ok(Self {
            told,
            memory,
            cut,
            stop,
            seen,
            thread: Some(thread),
        })
    }

    /// Tells something else from now on.
    pub fn tell(&self, change: impl FnOnce(Told) -> Told) {
        let now = self.told.borrow().clone();
        self.told.send_replace(change(now));
    }

    /// Ends all connections. Whoever comes back is told this, less what it holds unless the memory is lost.
    pub fn cut(&self, memory: Memory, change: impl FnOnce(Told) -> Told) {
        self.memory.send_replace(memory);
        // Nobody is told on a connection that is cut.
        self.cut.send_replace(());
        self.tell(change);
    }

    /// What it has seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// What it tells, for its next life.
    #[must_use]
    pub fn told(&self) -> Told {
        self.told.borrow().clone()
    }
}

impl Drop for Istiod {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic has been printed; the test sees what is missing.
            drop(thread.join());
        }
    }
}

#[derive(Clone)]
struct Life {
    authority: Arc<ScriptedAuthority>,
    telling: watch::Receiver<Told>,
    remembering: watch::Receiver<Memory>,
    seen: Arc<Mutex<Seen>>,
}

struct Orders {
    cutting: watch::Receiver<()>,
    stopping: watch::Receiver<bool>,
}

async fn live(life: Life, listener: TcpListener, mut orders: Orders) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let mut server = ScriptedServer::serve(&life.authority, NAME, listener);
    loop {
        tokio::select! {
            call = server.call() => {
                if call.path().ends_with("CreateCertificate") {
                    tokio::spawn(sign(life.clone(), call));
                } else {
                    tokio::spawn(stream::serve(life.clone(), call));
                }
            }
            Ok(()) = orders.cutting.changed() => server.cut(),
            _ = orders.stopping.wait_for(|stop| *stop) => break,
        }
    }
    server.stop().await;
}

async fn sign(life: Life, mut call: ScriptedCall) {
    let Some(request) = call.message::<CertificateRequest>().await else {
        return;
    };
    let whose = request.metadata.unwrap_or_default();
    let whose = whose.text("ImpersonatedIdentity").to_owned();
    lock(&life.seen).signed.push(whose);
    let leaf = life.authority.sign(&request.csr, None);
    call.answer(&CertificateResponse {
        cert_chain: vec![leaf, life.authority.root_pem()],
    });
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
