//! What must have happened before the agent is ready.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The set of tasks that are still to be done; ready when it is empty. Clones share the set.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    pending: Arc<Mutex<BTreeMap<&'static str, Task>>>,
    /// Says that a task is done.
    done: Arc<Notify>,
}

/// What is known of a task.
#[derive(Debug, Clone, Copy)]
struct Task {
    count: usize,
    whom: Whom,
}

/// Who has to wait for a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whom {
    /// All pods.
    All,
    /// Pods of the mesh.
    Members,
}

impl Readiness {
    /// Adds a task; it counts as done when the returned value is dropped.
    #[must_use]
    pub fn task(&self, name: &'static str) -> PendingTask {
        self.add(name, Whom::All)
    }

    /// Adds a task for which pods outside the mesh need not wait. It may be they who get it done: a control plane is a
    /// pod itself.
    #[must_use]
    pub fn task_of_members(&self, name: &'static str) -> PendingTask {
        self.add(name, Whom::Members)
    }

    fn add(&self, name: &'static str, whom: Whom) -> PendingTask {
        let mut pending = self.lock();
        let task = pending.entry(name).or_insert(Task { count: 0, whom });
        task.count += 1;
        drop(pending);
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

    /// Of these, the ones for which all pods have to wait.
    #[must_use]
    pub fn pending_for_all(&self) -> Vec<&'static str> {
        let pending = self.lock();
        let all = pending.iter().filter(|(_, task)| task.whom == Whom::All);
        all.map(|(name, _)| *name).collect()
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

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Task>> {
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
        if let Some(task) = pending.get_mut(self.name) {
            task.count -= 1;
            if task.count == 0 {
                pending.remove(self.name);
            }
        }
        drop(pending);
        self.readiness.done.notify_waiters();
    }
}
