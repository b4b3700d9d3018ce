//! A few sockets in hand for each pod.
//!
//! Making a socket in a pod's namespace is a request to the holder. A connection must not wait for
//! it, so some are made ahead, in batches, and refilled while connections use the rest.
//!
//! The holder may not answer for a while: it is another process, which may be being replaced. Then
//! connections live on the stock, and after that wait, as long as they would for their peer.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};
use tunnel_sockets::{Family, SocketKind, Sockets, SocketsError};

/// Sockets made with the first request: a pod that is never called holds few descriptors.
const FIRST: usize = 2;
/// Below this many, more are ordered.
const LOW: usize = 8;
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
    batch: usize,
    patience: Duration,
    shelves: [Shelf; 4],
}

#[derive(Debug, Default)]
struct Shelf {
    ready: RefCell<Vec<OwnedFd>>,
    ordered: Cell<bool>,
    batch: Cell<usize>,
}

impl<M: Makes> Stock<M> {
    /// A stock that grows to `batch`; whoever takes waits for `patience` if it is empty.
    pub(crate) fn new(pod: Arc<str>, maker: M, batch: usize, patience: Duration) -> Rc<Self> {
        Rc::new(Self {
            pod,
            maker,
            batch,
            patience,
            shelves: Default::default(),
        })
    }

    /// An unconnected socket in the pod's namespace; at once, unless the stock has run out.
    pub(crate) async fn take(
        self: &Rc<Self>,
        family: Family,
        kind: SocketKind,
    ) -> Result<TcpSocket, StockError> {
        let shelf = self.shelf(family, kind);
        let taken = shelf.ready.borrow_mut().pop();
        if shelf.ready.borrow().len() < LOW.min(self.batch) {
            self.order(family, kind);
        }
        let fd = match taken {
            Some(fd) => fd,
            None => self.one(family, kind).await?,
        };
        Ok(TcpSocket::from_std_stream(std::net::TcpStream::from(fd)))
    }

    /// A socket made for one connection, which waits for it.
    async fn one(&self, family: Family, kind: SocketKind) -> Result<OwnedFd, StockError> {
        let last = RefCell::new("nobody answered".to_owned());
        let asking = async {
            let mut pause = PAUSE;
            loop {
                match self.make(family, kind, 1).await {
                    Err(error) if error.is_passing() => *last.borrow_mut() = error.to_string(),
                    other => return other,
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        };
        let Ok(made) = timeout(self.patience, asking).await else {
            return Err(StockError::Late {
                pod: Arc::clone(&self.pod),
                patience: self.patience,
                last: last.take(),
            });
        };
        let made = made?.into_iter().next();
        let none = || SocketsError::Socket {
            pod: Arc::clone(&self.pod),
            source: io::Error::other("the holder answered with no socket"),
        };
        Ok(made.ok_or_else(none)?)
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
        let count = shelf.batch.get().max(FIRST).min(self.batch);
        shelf.batch.set((count * 2).min(self.batch));
        let stock = Rc::clone(self);
        tokio::task::spawn_local(async move {
            // An order that is never answered must not be the last.
            let made = timeout(stock.patience, stock.make(family, kind, count)).await;
            let shelf = stock.shelf(family, kind);
            shelf.ordered.set(false);
            match made {
                Ok(Ok(made)) => shelf.ready.borrow_mut().extend(made),
                // Whoever needs a socket asks for it and meets the error with a connection to
                // blame it on.
                Ok(Err(error)) => {
                    tracing::debug!(pod = %stock.pod, %error, "no sockets made ahead");
                }
                Err(_) => tracing::debug!(pod = %stock.pod, "no answer, no sockets made ahead"),
            }
        });
    }
}

#[cfg(test)]
mod tests;
