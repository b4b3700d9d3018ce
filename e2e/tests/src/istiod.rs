//! A scripted istiod in the place where an agent looks for one: it tells a mesh over the incremental discovery protocol
//! and signs for whoever asks.

mod messages;

use crate::netns::Netns;
use crate::world::Pod;
use anyhow::Result;
use messages::{CertificateRequest, CertificateResponse, Request, Response};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::watch;
use tunnel_control::scripted::{NAME, ScriptedAuthority, ScriptedCall, ScriptedServer};

/// What istiod tells, by type and name.
#[derive(Clone, Debug, Default)]
pub struct Told([BTreeMap<String, Vec<u8>>; 2]);

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
}

/// One life of istiod; a second one may follow at the same address.
#[derive(Debug)]
pub struct Istiod {
    told: watch::Sender<Told>,
    stop: watch::Sender<bool>,
    seen: Arc<Mutex<Seen>>,
    thread: Option<JoinHandle<()>>,
}

impl Told {
    /// A pod in the mesh, with policies by name.
    #[must_use]
    pub fn pod(mut self, pod: &Pod, policies: &[&str]) -> Self {
        let (name, bytes) = messages::workload(pod, policies);
        self.0[0].insert(name, bytes);
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

    /// A resource that no client understands.
    #[must_use]
    pub fn nonsense(mut self, name: &str) -> Self {
        self.0[0].insert(name.to_owned(), vec![0xff, 0xff]);
        self
    }

    fn policy(mut self, (name, bytes): (String, Vec<u8>)) -> Self {
        self.0[1].insert(name, bytes);
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
        let (stop, stopping) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let life = Life {
            authority: Arc::new(authority),
            telling,
            seen: Arc::clone(&seen),
        };
        let thread = std::thread::spawn(move || runtime.block_on(live(life, listener, stopping)));
        Ok(Self {
            told,
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
    seen: Arc<Mutex<Seen>>,
}

async fn live(life: Life, listener: TcpListener, mut stopping: watch::Receiver<bool>) {
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
                    tokio::spawn(stream(life.clone(), call));
                }
            }
            _ = stopping.wait_for(|stop| *stop) => break,
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

async fn stream(mut life: Life, mut call: ScriptedCall) {
    let token = call.header("authorization").to_owned();
    let mut known = 0;
    for _ in 0..2 {
        let Some(request) = call.message::<Request>().await else {
            return;
        };
        known += request.initial_resource_versions.len();
    }
    {
        let mut seen = lock(&life.seen);
        seen.tokens.push(token);
        seen.known.push(known);
    }
    let mut sent = None;
    loop {
        let now = life.telling.borrow_and_update().clone();
        for kind in 0..2 {
            let before = sent.as_ref().map(|told: &Told| &told.0[kind]);
            if let Some(response) = Response::between(kind, before, &now.0[kind]) {
                call.send(&response);
            }
        }
        sent = Some(now);
        loop {
            tokio::select! {
                changed = life.telling.changed() => match changed {
                    Ok(()) => break,
                    Err(_over) => return,
                },
                message = call.message::<Request>() => match message {
                    None => return,
                    Some(request) => if let Some(why) = request.error_detail {
                        lock(&life.seen).rejected.push(why.message);
                    },
                },
            }
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
