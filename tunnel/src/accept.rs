//! Accept loops: they end only when told to, and never spin.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// First pause after a failed accept (out of descriptors or memory); doubled up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Accepts until the returned future is dropped, giving each connection to `handle`. While `room`
/// is not ready, connections wait in the listener's queue instead of being refused.
pub(crate) async fn accept_forever(
    listener: TcpListener,
    what: &'static str,
    room: impl AsyncFn(),
    mut handle: impl FnMut(TcpStream, SocketAddr),
) {
    let mut pause = PAUSE;
    loop {
        room().await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = PAUSE;
                handle(stream, canonical(peer));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(
                    listener = what, %error,
                    "cannot accept connections for now, they wait; raise the limit of open files if this stays"
                );
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Errors that belong to the connection which was to be accepted, not to the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
    )
}

/// The address with a v4-mapped IPv6 address given as IPv4: a dual-stack listener sees both.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Connections that have not yet proven who they are. Beyond the bound the oldest gives way: a
/// real handshake takes milliseconds, so what is old is silent.
#[derive(Clone, Debug)]
pub(crate) struct Strangers(
    Rc<RefCell<VecDeque<(u64, AbortHandle)>>>,
    Rc<std::cell::Cell<u64>>,
    usize,
);

impl Strangers {
    pub(crate) fn new(bound: usize) -> Self {
        Self(Rc::default(), Rc::default(), bound)
    }

    /// A ticket to be given back once the handshake is over.
    pub(crate) fn ticket(&self) -> u64 {
        self.1.replace(self.1.get() + 1)
    }

    /// Registers the task that performs the handshake of `ticket`.
    pub(crate) fn enter(&self, ticket: u64, task: AbortHandle) {
        let oldest = {
            let mut waiting = self.0.borrow_mut();
            waiting.push_back((ticket, task));
            if waiting.len() > self.2 {
                waiting.pop_front()
            } else {
                None
            }
        };
        if let Some((_, oldest)) = oldest {
            oldest.abort();
        }
    }

    /// The handshake of `ticket` is over.
    pub(crate) fn leave(&self, ticket: u64) {
        let mut waiting = self.0.borrow_mut();
        if let Ok(at) = waiting.binary_search_by_key(&ticket, |(t, _)| *t) {
            waiting.remove(at);
        }
    }
}
