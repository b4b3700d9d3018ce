//! Accept loops: they end only when told to, and never spin.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tunnel_model::canonical_address;

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
                // A dual-stack listener sees IPv4 peers in mapped form.
                handle(stream, canonical_address(peer));
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

/// Connections that have not yet proven who they are. Beyond the bound the oldest of the busiest
/// address gives way: a real handshake takes milliseconds, so what is old is silent, and whoever
/// opens most is the one who fills the place.
#[derive(Clone, Debug)]
pub(crate) struct Strangers {
    waiting: Rc<RefCell<VecDeque<Stranger>>>,
    next: Rc<Cell<u64>>,
    bound: usize,
}

#[derive(Debug)]
struct Stranger {
    ticket: u64,
    from: IpAddr,
    task: AbortHandle,
}

impl Strangers {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            waiting: Rc::default(),
            next: Rc::default(),
            bound,
        }
    }

    /// A ticket to be given back once the handshake is over.
    pub(crate) fn ticket(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// Registers the task that performs the handshake of `ticket` with `from`.
    pub(crate) fn enter(&self, ticket: u64, from: IpAddr, task: AbortHandle) {
        let ended = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.push_back(Stranger { ticket, from, task });
            if waiting.len() > self.bound {
                let at = oldest_of_the_busiest(&waiting);
                waiting.remove(at)
            } else {
                None
            }
        };
        if let Some(stranger) = ended {
            stranger.task.abort();
        }
    }

    /// Ends all handshakes.
    pub(crate) fn abort_all(&self) {
        for stranger in self.waiting.borrow_mut().drain(..) {
            stranger.task.abort();
        }
    }

    /// The handshake of `ticket` is over.
    pub(crate) fn leave(&self, ticket: u64) {
        let mut waiting = self.waiting.borrow_mut();
        if let Ok(at) = waiting.binary_search_by_key(&ticket, |stranger| stranger.ticket) {
            waiting.remove(at);
        }
    }
}

fn oldest_of_the_busiest(waiting: &VecDeque<Stranger>) -> usize {
    let mut places: HashMap<IpAddr, usize> = HashMap::new();
    for stranger in waiting {
        *places.entry(stranger.from).or_default() += 1;
    }
    let most = places.values().copied().max().unwrap_or(0);
    waiting
        .iter()
        .position(|stranger| places.get(&stranger.from) == Some(&most))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    #[test]
    fn whoever_fills_the_place_gives_way() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        LocalSet::new().block_on(&runtime.expect("a runtime"), async {
            let strangers = Strangers::new(3);
            let [honest, greedy] =
                ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().expect("an address"));
            let mut tasks = Vec::new();
            for from in [honest, greedy, greedy, greedy] {
                let task = spawn_local(std::future::pending::<()>());
                strangers.enter(strangers.ticket(), from, task.abort_handle());
                tasks.push(task);
            }
            tokio::task::yield_now().await;
            let ended: Vec<_> = tasks
                .iter()
                .map(tokio::task::JoinHandle::is_finished)
                .collect();
            assert_eq!(ended, [false, true, false, false]);
        });
    }
}
