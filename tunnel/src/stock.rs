//! A few sockets in hand for each pod.
//!
//! Making a socket in a pod's namespace is a request to the keeper. A connection must not wait for
//! it, so some are made ahead, in batches, and refilled while connections use the rest.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpSocket;
use tunnel_sockets::{Family, SocketKind, Sockets, SocketsError};

/// Sockets made with one request once a pod is busy.
const BATCH: usize = 32;
/// Sockets made with the first request: a pod that is never called holds few descriptors.
const FIRST: usize = 2;
/// Below this many, more are ordered.
const LOW: usize = 8;

/// The sockets in hand of one pod, on one thread.
#[derive(Debug)]
pub(crate) struct Stock {
    pod: Arc<str>,
    sockets: Sockets,
    shelves: [Shelf; 4],
}

#[derive(Debug, Default)]
struct Shelf {
    ready: RefCell<Vec<OwnedFd>>,
    ordered: Cell<bool>,
    batch: Cell<usize>,
}

impl Stock {
    pub(crate) fn new(pod: Arc<str>, sockets: Sockets) -> Rc<Self> {
        Rc::new(Self {
            pod,
            sockets,
            shelves: Default::default(),
        })
    }

    /// An unconnected socket in the pod's namespace; at once, unless the stock has run out.
    pub(crate) async fn take(
        self: &Rc<Self>,
        family: Family,
        kind: SocketKind,
    ) -> Result<TcpSocket, SocketsError> {
        let shelf = self.shelf(family, kind);
        let taken = shelf.ready.borrow_mut().pop();
        if shelf.ready.borrow().len() < LOW {
            self.order(family, kind);
        }
        let fd = match taken {
            Some(fd) => fd,
            None => self.one(family, kind).await?,
        };
        Ok(TcpSocket::from_std_stream(std::net::TcpStream::from(fd)))
    }

    async fn one(&self, family: Family, kind: SocketKind) -> Result<OwnedFd, SocketsError> {
        let made = self
            .sockets
            .make(Arc::clone(&self.pod), family, kind, 1)
            .await?;
        made.into_iter().next().ok_or_else(|| SocketsError::Socket {
            pod: Arc::clone(&self.pod),
            source: io::Error::other("the keeper answered with no socket"),
        })
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
        let count = shelf.batch.get().clamp(FIRST, BATCH);
        shelf.batch.set((count * 2).min(BATCH));
        let stock = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let made = stock
                .sockets
                .make(Arc::clone(&stock.pod), family, kind, count)
                .await;
            let shelf = stock.shelf(family, kind);
            shelf.ordered.set(false);
            match made {
                Ok(made) => shelf.ready.borrow_mut().extend(made),
                // Whoever needs a socket asks for it and meets the error with a connection to
                // blame it on.
                Err(error) => tracing::debug!(pod = %stock.pod, %error, "no sockets made ahead"),
            }
        });
    }
}
