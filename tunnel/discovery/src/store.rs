use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tunnel_model::{MeshChanges, MeshState, PodUid, Snapshot, Workload};

/// Where snapshots are made: what discovery says, over the workloads of this node.
///
/// The node's own workloads are known before discovery has heard of them; once it has, its word on
/// them is the one that counts. Its word on who had their addresses before is not.
#[derive(Debug)]
pub struct MeshStore {
    /// Held while what discovery says becomes a snapshot, so that it does so in order.
    telling: Mutex<()>,
    writing: Mutex<Writing>,
    published: Arc<ArcSwap<Snapshot>>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Writing {
    local: BTreeMap<PodUid, Arc<Workload>>,
    version: u64,
    /// Snapshots that were replaced and may still be read. They are kept so that no thread that
    /// carries traffic is the last to let go of one: taking a large one apart takes milliseconds.
    retired: Vec<Arc<Snapshot>>,
}

/// Reads the latest snapshot, and says when there is another.
#[derive(Debug, Clone)]
pub struct MeshReader {
    published: Arc<ArcSwap<Snapshot>>,
    changes: watch::Receiver<u64>,
}

impl Default for MeshStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MeshStore {
    /// A store that knows nothing: version 0.
    #[must_use]
    pub fn new() -> Self {
        Self {
            telling: Mutex::default(),
            writing: Mutex::default(),
            published: Arc::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// A handle to read from.
    #[must_use]
    pub fn reader(&self) -> MeshReader {
        MeshReader {
            published: Arc::clone(&self.published),
            changes: self.changes.subscribe(),
        }
    }

    /// Replaces all that discovery says, and returns the version that holds it.
    pub fn set_state(&self, state: MeshState) -> u64 {
        let telling = lock(&self.telling);
        // Indexed before this lock is taken: a pod that is being admitted must not wait for it.
        let mesh = state.into_snapshot(0);
        let version = self.publish(&mut lock(&self.writing), Some(&mesh));
        drop(telling);
        version
    }

    /// Changes what discovery says, and returns the version that holds it.
    pub fn change(&self, changes: MeshChanges) -> u64 {
        let telling = lock(&self.telling);
        let mesh = self.published.load_full().changed(changes);
        let version = self.publish(&mut lock(&self.writing), Some(&mesh));
        drop(telling);
        version
    }

    /// Adds or replaces a workload of this node.
    pub fn upsert_local(&self, uid: PodUid, workload: impl Into<Arc<Workload>>) -> u64 {
        let mut writing = lock(&self.writing);
        writing.local.insert(uid, workload.into());
        self.publish(&mut writing, None)
    }

    /// Forgets a workload of this node; one that is not known is no change.
    pub fn remove_local(&self, uid: &PodUid) -> u64 {
        let mut writing = lock(&self.writing);
        if writing.local.remove(uid).is_none() {
            return writing.version;
        }
        self.publish(&mut writing, None)
    }

    /// Lets go of snapshots that nobody reads any more; to be called after a large change, from a
    /// thread that has the time. The next change does it too.
    pub fn tidy(&self) {
        let unread = take_unread(&mut lock(&self.writing));
        // Not under the lock, for which a pod that is being admitted may wait.
        drop(unread);
    }

    fn publish(&self, writing: &mut Writing, mesh: Option<&Snapshot>) -> u64 {
        writing.version += 1;
        let version = writing.version;
        let before = self.published.load();
        let local = writing.local.values().cloned();
        let next = mesh.unwrap_or(&before).with_local(version, local);
        drop(before);
        drop(take_unread(writing));
        writing.retired.push(self.published.swap(Arc::new(next)));
        self.changes.send_replace(version);
        version
    }
}

/// Every state that can be seen under a lock is whole, so a writer that panicked is no reason to
/// stop.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A retired snapshot gets no new readers, so that one without any stays without.
fn take_unread(writing: &mut Writing) -> Vec<Arc<Snapshot>> {
    let read = |snapshot: &Arc<Snapshot>| Arc::strong_count(snapshot) > 1;
    let (read, unread) = writing.retired.drain(..).partition(read);
    writing.retired = read;
    unread
}

impl MeshReader {
    /// The latest snapshot.
    #[must_use]
    pub fn load(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// Versions as they come. A version is announced after its snapshot can be read.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

#[cfg(test)]
mod tests;
