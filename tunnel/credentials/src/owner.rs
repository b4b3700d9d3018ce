use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep};
use tunnel_model::Identity;

use crate::authority::CertificateAuthority;
use crate::book::Book;
use crate::certificate::Certificate;
use crate::obtain::{ObtainError, obtain};
use crate::root_file::RootFile;
use crate::roots::{RootSet, Roots};
use crate::schedule::Jitter;
use crate::settings::CredentialSettings;
use crate::slot::{Moment, Published};
use crate::trust::Believed;

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

/// The one task that knows all identities.
pub(crate) struct Owner {
    settings: Arc<CredentialSettings>,
    authority: Arc<dyn CertificateAuthority>,
    directory: Arc<Directory>,
    commands: mpsc::UnboundedReceiver<Command>,
    book: Book,
    file: Option<RootFile>,
    roots: Roots,
    believed: Arc<Believed>,
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
        let file = authority.root_file().map(RootFile::new);
        let roots = Roots::new(settings.root_pause);
        let (requests, asked) = (JoinSet::new(), HashMap::new());
        Self {
            settings,
            authority,
            directory,
            commands,
            book,
            file,
            roots,
            believed: Arc::default(),
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
                roots = changed(self.file.as_mut()) => self.follow(&roots),
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
            let task = self.requests.spawn(obtain(
                self.settings.clone(),
                self.authority.clone(),
                self.believed.clone(),
                id.clone(),
            ));
            self.asked.insert(task.id(), id);
        }
        if self.roots.pass(now) {
            self.believed.replace(self.roots.believed());
            tracing::info!("roots that are no longer published are believed no more");
        }
        self.directory.tell_revision(self.book.revision());
        let sleeps = self.book.sleeps(now, wall);
        (self.roots.sleeps(now)).map_or(sleeps, |other| other.min(sleeps))
    }

    /// The file with the roots holds others than before.
    fn follow(&mut self, roots: &RootSet) {
        let moment = self.moment();
        let came = self.book.came_with(roots);
        let followed = self.roots.read(roots.clone(), came, moment.now);
        self.believed.replace(self.roots.believed());
        if followed {
            let certificates = self.book.follow(roots, &moment, dice);
            tracing::info!(
                path = self.file.as_ref().map(|file| file.path().display().to_string()),
                roots = roots.serials(),
                certificates,
                within = ?moment.pause * 2,
                former_believed_for = ?self.roots.former_for(),
                "the roots have changed; they are believed at once, and certificates follow"
            );
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            now: Instant::now(),
            wall: self.settings.clock.now(),
            pause: self.roots.pause(),
        }
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
            Ok(new) => self.succeeded(&id, new),
            Err(why) => {
                let why = why.to_string();
                let pause = self.book.failed(&id, &why, Instant::now(), dice());
                let pause = pause.unwrap_or_default();
                tracing::warn!(identity = %id, error = why, retry_in = ?pause, "no certificate");
            }
        }
    }

    fn succeeded(&mut self, id: &Identity, new: Certificate) {
        tracing::info!(identity = %id, serial = new.serial, "certificate obtained");
        let agrees = self.roots.came(&RootSet::of(&new.roots));
        self.believed.replace(self.roots.believed());
        let moment = self.moment();
        self.book.succeeded(Arc::new(new), moment.wall, dice());
        self.book.compared(id, agrees, &moment, dice());
    }
}

/// The roots in the file once they change; never without a file.
async fn changed(file: Option<&mut RootFile>) -> RootSet {
    match file {
        Some(file) => file.changed().await,
        None => std::future::pending().await,
    }
}

/// Without randomness, the middle: spreading requests is a courtesy, not a need.
fn dice() -> Jitter {
    Jitter::from_random(getrandom::u32().unwrap_or(500))
}
