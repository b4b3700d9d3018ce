//! The connections of one pod on one thread, and the way to end them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tunnel_decide::Refusal;
use tunnel_hbone::Spread;

use crate::standing::Standing;

/// Connections under way. Each is a task; ending the task ends the connection, and what the task
/// held says so in log and metrics.
#[derive(Debug, Default)]
pub(crate) struct Live {
    next: Cell<u64>,
    tasks: RefCell<HashMap<u64, Place, Spread>>,
    room: Notify,
}

#[derive(Debug)]
struct Place {
    task: AbortHandle,
    /// What it is judged by while it is open; none while it is set up, and of what is not judged.
    standing: Option<Rc<Standing>>,
}

impl Live {
    /// Runs a connection as a task of its own.
    pub(crate) fn spawn(
        self: &Rc<Self>,
        connection: impl Future<Output = ()> + 'static,
    ) -> AbortHandle {
        self.spawn_at(|_| connection)
    }

    /// The same, and tells the connection by which number it is on the list.
    pub(crate) fn spawn_at<F: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        connection: impl FnOnce(u64) -> F,
    ) -> AbortHandle {
        let id = self.next.replace(self.next.get() + 1);
        let connection = connection(id);
        let leave = Leave {
            live: Rc::clone(self),
            id,
        };
        let task = tokio::task::spawn_local(async move {
            let _leave = leave;
            connection.await;
        });
        let handle = task.abort_handle();
        let place = Place {
            task: handle.clone(),
            standing: None,
        };
        self.tasks.borrow_mut().insert(id, place);
        handle
    }

    /// A connection was let through: from now on it is judged whenever its pod's policies change.
    pub(crate) fn stand(&self, id: u64, standing: &Rc<Standing>) {
        if let Some(place) = self.tasks.borrow_mut().get_mut(&id) {
            place.standing = Some(Rc::clone(standing));
        }
    }

    /// Whether any connection was let through.
    pub(crate) fn any_standing(&self) -> bool {
        let tasks = self.tasks.borrow();
        tasks.values().any(|place| place.standing.is_some())
    }

    /// The numbers of connections that were let through.
    pub(crate) fn standing(&self) -> Vec<u64> {
        let tasks = self.tasks.borrow();
        let stands = |(id, place): (&u64, &Place)| place.standing.is_some().then_some(*id);
        tasks.iter().filter_map(stands).collect()
    }

    /// Judges one, if it is still there, and ends it if it is refused: whoever waits for its bytes
    /// is told by a reset, and log and metrics by what the connection holds.
    pub(crate) fn judge(&self, id: u64, judge: impl FnOnce(&Standing) -> Option<Box<Refusal>>) {
        let refused = {
            let tasks = self.tasks.borrow();
            let Some(Place { task, standing }) = tasks.get(&id) else {
                return;
            };
            standing.as_ref().and_then(|standing| {
                standing.cut(judge(standing)?);
                Some(task.clone())
            })
        };
        if let Some(task) = refused {
            task.abort();
        }
    }

    /// Connections now.
    pub(crate) fn count(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Completes when there are fewer than `bound` connections.
    pub(crate) async fn room(&self, bound: usize) {
        while self.count() >= bound {
            self.room.notified().await;
        }
    }

    /// Ends every connection at once.
    pub(crate) fn abort_all(&self) {
        let handle = |place: &Place| place.task.clone();
        let tasks: Vec<_> = self.tasks.borrow().values().map(handle).collect();
        for task in tasks {
            task.abort();
        }
    }
}

/// The connections of a pod by kind, each with a bound of its own: what strangers fill must not
/// keep the pod from calling, nor peers from reaching it.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    /// Connections the pod makes.
    pub outbound: Rc<Live>,
    /// Plaintext connections to it.
    pub plaintext: Rc<Live>,
    /// Tunnels from peers.
    pub tunnels: Rc<Live>,
    /// Connections inside those tunnels.
    pub streams: Rc<Live>,
}

impl Lives {
    fn all(&self) -> [&Rc<Live>; 4] {
        [
            &self.outbound,
            &self.plaintext,
            &self.tunnels,
            &self.streams,
        ]
    }

    /// Connections of applications: all but tunnels.
    pub(crate) fn connections(&self) -> usize {
        self.count() - self.tunnels.count()
    }

    /// All of them.
    pub(crate) fn count(&self) -> usize {
        self.all().iter().map(|live| live.count()).sum()
    }

    /// Ends connections of applications; tunnels go on.
    pub(crate) fn abort_connections(&self) {
        for live in [&self.outbound, &self.plaintext, &self.streams] {
            live.abort_all();
        }
    }
}

/// Takes a connection off the list when its task ends, however it ends.
struct Leave {
    live: Rc<Live>,
    id: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.live.tasks.borrow_mut().remove(&self.id);
        // All of them: whoever is woken may find nothing to accept, and would keep the others out.
        self.live.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    #[test]
    fn one_place_is_room_for_everybody_who_waits() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        LocalSet::new().block_on(&runtime, async {
            let live = Rc::new(Live::default());
            let connection = live.spawn(std::future::pending());
            let waiting: Vec<_> = (0..3)
                .map(|_| {
                    let live = Rc::clone(&live);
                    tokio::task::spawn_local(async move { live.room(1).await })
                })
                .collect();
            tokio::task::yield_now().await;
            assert!(waiting.iter().all(|waits| !waits.is_finished()));
            connection.abort();
            for waits in waiting {
                waits.await.expect("it ends");
            }
        });
    }
}
