//! What must have happened before the agent is ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The set of tasks that are still to be done; ready when it is empty. Clones share the set.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    /// Says that a task is done.
    done: Arc<Notify>,
}

impl Readiness {
    /// Adds a task; it counts as done when the returned value is dropped.
    #[must_use]
    pub fn task(&self, name: &'static str) -> PendingTask {
        *self.lock().entry(name).or_default() += 1;
        PendingTask {
            readiness: self.clone(),
            name,
        }
    }

    /// The tasks still to be done, sorted.
    #[must_use]
    pub fn pending(&self) -> Vec<&'static str> {
        self.lock().keys().copied().collect()
    }

    /// Whether nothing is pending.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.lock().is_empty()
    }

    /// Waits until nothing is pending.
    pub async fn ready(&self) {
        loop {
            let changed = self.done.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if self.is_ready() {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, usize>> {
        // The map is whole after each operation, so a panic elsewhere does not spoil it.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task that readiness waits for; done when dropped.
#[derive(Debug)]
pub struct PendingTask {
    readiness: Readiness,
    name: &'static str,
}

impl PendingTask {
    /// Says that the task is done.
    pub fn done(self) {
        drop(self);
    }
}

impl Drop for PendingTask {
    fn drop(&mut self) {
        let mut pending = self.readiness.lock();
        if let Some(count) = pending.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                pending.remove(self.name);
            }
        }
        drop(pending);
        self.readiness.done.notify_waiters();
    }
}
