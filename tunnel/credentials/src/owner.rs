use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tunnel_model::Identity;

use crate::answer::{self, AnswerError, Asked};
use crate::authority::{CaError, CertificateAuthority, SigningRequest};
use crate::book::{Book, Published};
use crate::certificate::Certificate;
use crate::key::{Key, KeyError};
use crate::schedule::Jitter;
use crate::settings::CredentialSettings;
use crate::tls::{self, ConfigError};

/// What the handles ask of the owner.
pub(crate) enum Command {
    Hold {
        id: Identity,
        reply: Option<oneshot::Sender<watch::Receiver<Published>>>,
    },
    Release {
        id: Identity,
    },
    /// The authority is believed to answer now.
    AskAgain,
    /// Says when all earlier commands are carried out.
    CatchUp {
        reply: oneshot::Sender<()>,
    },
}

/// Where the handles look without asking. Only the owner writes.
#[derive(Default)]
pub(crate) struct Directory {
    entries: RwLock<HashMap<Identity, watch::Receiver<Published>>>,
    revision: watch::Sender<u64>,
}

impl Directory {
    pub(crate) fn see<T>(&self, id: &Identity, look: impl FnOnce(&Published) -> T) -> Option<T> {
        let map = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        map.get(id).map(|published| look(&published.borrow()))
    }

    pub(crate) fn see_all<T>(&self, mut look: impl FnMut(&Identity, &Published) -> T) -> Vec<T> {
        let map = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        map.iter()
            .map(|(id, published)| look(id, &published.borrow()))
            .collect()
    }

    /// A number that grows with each change of what can be seen here.
    pub(crate) fn revision(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    fn tell_revision(&self, now: u64) {
        self.revision.send_if_modified(|told| {
            let changed = *told != now;
            *told = now;
            changed
        });
    }

    fn enter(&self, id: &Identity, published: watch::Receiver<Published>) {
        let mut map = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        map.entry(id.clone()).or_insert(published);
    }

    fn strike(&self, ids: &[Identity]) {
        let mut map = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            map.remove(id);
        }
    }
}

/// Why one request came to nothing.
#[derive(Debug, thiserror::Error)]
enum ObtainError {
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("{0}")]
    Authority(#[from] CaError),
    #[error("the certificate authority did not answer within {0:?}")]
    TimedOut(std::time::Duration),
    #[error("{0}")]
    Answer(#[from] AnswerError),
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("the request was abandoned: {0}")]
    Task(#[from] JoinError),
}

/// The one task that knows all identities.
pub(crate) struct Owner {
    settings: Arc<CredentialSettings>,
    authority: Arc<dyn CertificateAuthority>,
    directory: Arc<Directory>,
    commands: mpsc::UnboundedReceiver<Command>,
    book: Book,
    requests: JoinSet<Result<Certificate, ObtainError>>,
    asked: HashMap<Id, Identity>,
}

impl Owner {
    pub(crate) fn new(
        settings: Arc<CredentialSettings>,
        authority: Arc<dyn CertificateAuthority>,
        directory: Arc<Directory>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        let book = Book::new(settings.linger);
        let (requests, asked) = (JoinSet::new(), HashMap::new());
        Self {
            settings,
            authority,
            directory,
            commands,
            book,
            requests,
            asked,
        }
    }

    /// Runs until the last handle is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let pause = self.settle();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.obey_all(command),
                    None => return,
                },
                Some(ended) = self.requests.join_next_with_id() => self.ended(ended),
                () = sleep(pause) => {}
            }
        }
    }

    /// Does what is due and says how long nothing else will be.
    fn settle(&mut self) -> std::time::Duration {
        let (now, wall) = (Instant::now(), self.settings.clock.now());
        let forgotten = self.book.pass(now, wall);
        if !forgotten.is_empty() {
            self.directory.strike(&forgotten);
        }
        while self.requests.len() < self.settings.max_in_flight {
            let Some(id) = self.book.next_request() else {
                break;
            };
            let request = obtain(self.settings.clone(), self.authority.clone(), id.clone());
            let task = self.requests.spawn(request);
            self.asked.insert(task.id(), id);
        }
        self.directory.tell_revision(self.book.revision());
        self.book.sleeps(now, wall)
    }

    /// Takes all that wait at once: a thousand commands cost one look at the book.
    fn obey_all(&mut self, first: Command) {
        let now = Instant::now();
        self.obey(first, now);
        while let Ok(next) = self.commands.try_recv() {
            self.obey(next, now);
        }
    }

    fn obey(&mut self, command: Command, now: Instant) {
        match command {
            Command::Hold { id, reply } => {
                let wall = self.settings.clock.now();
                let published = self.book.hold(&id, now, wall);
                self.directory.enter(&id, published.clone());
                if let Some(reply) = reply {
                    // The one who asked may have stopped waiting.
                    let _gone = reply.send(published);
                }
            }
            Command::Release { id } => self.book.release(&id, now),
            Command::AskAgain => self.book.ask_again(now),
            Command::CatchUp { reply } => {
                // The one who asked may have stopped waiting.
                let _gone = reply.send(());
            }
        }
    }

    fn ended(&mut self, ended: Result<(Id, Result<Certificate, ObtainError>), JoinError>) {
        let (task, result) = match ended {
            Ok((task, result)) => (task, result),
            Err(why) => (why.id(), Err(why.into())),
        };
        let Some(id) = self.asked.remove(&task) else {
            return;
        };
        match result {
            Ok(new) => {
                tracing::info!(identity = %id, serial = new.serial, "certificate obtained");
                self.book
                    .succeeded(Arc::new(new), self.settings.clock.now(), dice());
            }
            Err(why) => {
                let why = why.to_string();
                let pause = self.book.failed(&id, &why, Instant::now(), dice());
                tracing::warn!(identity = %id, error = why, retry_in = ?pause, "no certificate");
            }
        }
    }
}

/// One certificate, from the making of its key to its configurations.
async fn obtain(
    settings: Arc<CredentialSettings>,
    authority: Arc<dyn CertificateAuthority>,
    identity: Identity,
) -> Result<Certificate, ObtainError> {
    let key = Key::generate()?;
    let request = SigningRequest {
        csr_pem: key.signing_request(&identity)?,
        identity: identity.clone(),
        ttl: settings.ttl,
    };
    let limit = settings.request_timeout;
    let answer = timeout(limit, authority.sign(request))
        .await
        .map_err(|_| ObtainError::TimedOut(limit))??;
    let asked = Asked {
        identity: &identity,
        public_key_info: &key.public_key_info(),
        now: settings.clock.now(),
        skew: settings.clock_skew,
    };
    let accepted = answer::check(answer, &asked)?;
    Ok(tls::certificate(accepted, key, &settings.clock)?)
}

/// Without randomness, the middle: spreading requests is a courtesy, not a need.
fn dice() -> Jitter {
    Jitter::from_random(getrandom::u32().unwrap_or(500))
}
