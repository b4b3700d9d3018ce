//! A few sockets in hand for each pod.
//!
//! Making a socket in a pod's namespace is a request to the holder. A connection must not wait for
//! it, so some are made ahead, in batches, and refilled while connections use the rest. Each batch
//! wakes three threads of two processes, so batches double as long as connections find none left or
//! a batch is used up in no time; what a pod that has become quiet does not need goes back.
//!
//! The holder may not answer for a while: it is another process, which may be being replaced. Then
//! connections live on the stock, and after that wait, as long as they would for their peer.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tunnel_sockets::{Family, SocketKind, Sockets, SocketsError};

/// Sockets made with the first request: a pod that is never called holds few descriptors.
const FIRST: usize = 2;
/// A batch that is used up sooner is too small.
const SOON: Duration = Duration::from_millis(100);
/// A stock that nobody took from for so long goes back to what it was at first.
const QUIET: Duration = Duration::from_secs(30);
/// First pause before a request is repeated whose error may pass; doubled up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Where sockets come from.
pub(crate) trait Makes: 'static {
    /// Makes sockets in a pod's namespace.
    async fn make(
        &self,
        pod: Arc<str>,
        family: Family,
        kind: SocketKind,
        count: usize,
    ) -> Result<Vec<OwnedFd>, SocketsError>;
}

impl Makes for Sockets {
    async fn make(
        &self,
        pod: Arc<str>,
        family: Family,
        kind: SocketKind,
        count: usize,
    ) -> Result<Vec<OwnedFd>, SocketsError> {
        Self::make(self, pod, family, kind, count).await
    }
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StockError {
    /// Nobody answered in time, or only with errors that pass.
    #[error(
        "no socket in the namespace of pod {pod} within {patience:?}: {last}; try again, and look at the holder of the node's sockets if this stays"
    )]
    Late {
        pod: Arc<str>,
        patience: Duration,
        last: String,
    },
    /// The holder refused.
    #[error(transparent)]
    Refused(#[from] SocketsError),
}

/// The sockets in hand of one pod, on one thread.
#[derive(Debug)]
pub(crate) struct Stock<M = Sockets> {
    pod: Arc<str>,
    maker: M,
    /// Sockets made with one request once a pod is busy; none are made ahead if it is 0.
    largest: usize,
    patience: Duration,
    shelves: [Shelf; 4],
}

#[derive(Debug)]
struct Shelf {
    ready: RefCell<Vec<OwnedFd>>,
    ordered: Cell<bool>,
    /// An order has ended.
    arrived: Notify,
    /// The last one brought nothing.
    failed: Cell<bool>,
    batch: Cell<usize>,
    /// Somebody found it empty since the last order was made.
    missed: Cell<bool>,
    last_order: Cell<Option<Instant>>,
    taken: Cell<u64>,
    /// Somebody watches whether it is still used.
    watched: Cell<bool>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            ready: RefCell::default(),
            ordered: Cell::default(),
            arrived: Notify::new(),
            failed: Cell::default(),
            batch: Cell::new(FIRST),
            missed: Cell::default(),
            last_order: Cell::default(),
            taken: Cell::default(),
            watched: Cell::default(),
        }
    }
}

impl<M: Makes> Stock<M> {
    /// A stock that grows to `largest`; whoever takes waits for `patience` if it is empty.
    pub(crate) fn new(pod: Arc<str>, maker: M, largest: usize, patience: Duration) -> Rc<Self> {
        Rc::new(Self {
            pod,
            maker,
            largest,
            patience,
            shelves: Default::default(),
        })
    }

    /// An unconnected socket in the pod's namespace; at once, unless the stock has run out.
    pub(crate) async fn take(
        self: &Rc<Self>,
        family: Family,
        kind: SocketKind,
    ) -> Result<OwnedFd, StockError> {
        match self.from_stock(family, kind) {
            Some(fd) => Ok(fd),
            None => self.wait(family, kind).await,
        }
    }

    /// What is there, if anything; more is ordered when half of it is gone.
    fn from_stock(self: &Rc<Self>, family: Family, kind: SocketKind) -> Option<OwnedFd> {
        let shelf = self.shelf(family, kind);
        let taken = shelf.ready.borrow_mut().pop();
        match taken {
            Some(_) => shelf.taken.set(shelf.taken.get() + 1),
            None => shelf.missed.set(true),
        }
        let left = shelf.ready.borrow().len();
        if self.largest > 0 && left <= shelf.batch.get() / 2 {
            self.order(family, kind);
        }
        taken
    }

    /// A socket of those that are on their way; `None` if they do not come.
    async fn ordered(self: &Rc<Self>, family: Family, kind: SocketKind) -> Option<OwnedFd> {
        let shelf = self.shelf(family, kind);
        while shelf.ordered.get() {
            shelf.arrived.notified().await;
            if shelf.failed.get() {
                return None;
            }
            if let Some(fd) = self.from_stock(family, kind) {
                return Some(fd);
            }
        }
        None
    }

    /// A socket for a connection that found none.
    async fn wait(
        self: &Rc<Self>,
        family: Family,
        kind: SocketKind,
    ) -> Result<OwnedFd, StockError> {
        let last = RefCell::new("nobody answered".to_owned());
        let waiting = async {
            match self.ordered(family, kind).await {
                Some(fd) => Ok(fd),
                None => self.one(family, kind, &last).await,
            }
        };
        match timeout(self.patience, waiting).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(StockError::Late {
                pod: Arc::clone(&self.pod),
                patience: self.patience,
                last: last.take(),
            }),
        }
    }

    /// A socket made for one connection; errors that may pass are waited out, and told to `last`.
    async fn one(
        &self,
        family: Family,
        kind: SocketKind,
        last: &RefCell<String>,
    ) -> Result<OwnedFd, SocketsError> {
        let mut pause = PAUSE;
        let made = loop {
            match self.make(family, kind, 1).await {
                Err(error) if error.is_passing() => *last.borrow_mut() = error.to_string(),
                other => break other?,
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        };
        let none = || SocketsError::Socket {
            pod: Arc::clone(&self.pod),
            source: io::Error::other("the holder answered with no socket"),
        };
        made.into_iter().next().ok_or_else(none)
    }

    async fn make(
        &self,
        family: Family,
        kind: SocketKind,
        count: usize,
    ) -> Result<Vec<OwnedFd>, SocketsError> {
        let pod = Arc::clone(&self.pod);
        self.maker.make(pod, family, kind, count).await
    }

    fn shelf(&self, family: Family, kind: SocketKind) -> &Shelf {
        let family = usize::from(family == Family::V6);
        let kind = usize::from(kind == SocketKind::Transparent);
        &self.shelves[family * 2 + kind]
    }

    /// Orders more, in the background, unless that is under way.
    fn order(self: &Rc<Self>, family: Family, kind: SocketKind) {
        let shelf = self.shelf(family, kind);
        if shelf.ordered.replace(true) {
            return;
        }
        let now = Instant::now();
        let last = shelf.last_order.replace(Some(now));
        let soon = last.is_some_and(|last| now.duration_since(last) < SOON);
        if shelf.missed.take() || soon {
            shelf.batch.set(shelf.batch.get() * 2);
        }
        let count = shelf.batch.get().min(self.largest);
        shelf.batch.set(count);
        let stock = Rc::clone(self);
        tokio::task::spawn_local(async move {
            // An order that is never answered must not be the last.
            let made = timeout(stock.patience, stock.make(family, kind, count)).await;
            let shelf = stock.shelf(family, kind);
            shelf.ordered.set(false);
            shelf.failed.set(!matches!(made, Ok(Ok(_))));
            match made {
                Ok(Ok(made)) => {
                    shelf.ready.borrow_mut().extend(made);
                    stock.watch(family, kind);
                }
                // Whoever needs a socket asks for it and meets the error with a connection to
                // blame it on.
                Ok(Err(error)) => {
                    tracing::debug!(pod = %stock.pod, %error, "no sockets made ahead");
                }
                Err(_) => tracing::debug!(pod = %stock.pod, "no answer, no sockets made ahead"),
            }
            shelf.arrived.notify_waiters();
        });
    }

    /// Gives back what a pod that has become quiet has too much of.
    fn watch(self: &Rc<Self>, family: Family, kind: SocketKind) {
        let shelf = self.shelf(family, kind);
        if shelf.ready.borrow().len() <= FIRST || shelf.watched.replace(true) {
            return;
        }
        let stock = Rc::downgrade(self);
        let mut taken = shelf.taken.get();
        tokio::task::spawn_local(async move {
            loop {
                sleep(QUIET).await;
                let Some(stock) = stock.upgrade() else { return };
                let shelf = stock.shelf(family, kind);
                if taken == shelf.taken.get() {
                    shelf.watched.set(false);
                    shelf.batch.set(FIRST);
                    shelf.ready.borrow_mut().truncate(FIRST);
                    return;
                }
                taken = shelf.taken.get();
            }
        });
    }
}

#[cfg(test)]
mod tests;
