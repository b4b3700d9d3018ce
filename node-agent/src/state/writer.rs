//! The thread that writes the state, many changes at a time.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use node_agent_enrollment::Snapshot;
use tokio::sync::watch;

use super::file::StateDir;

/// A state of the table; later states have greater numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Generation(pub(crate) u64);

/// A state could not be written; the text says why. It is tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the table of enrolled pods cannot be written: {0}")]
pub(crate) struct NotDurable(Arc<str>);

#[derive(Debug, Clone, Default)]
struct Progress {
    durable: Generation,
    failed: Option<(Generation, Arc<str>)>,
}

#[derive(Debug, Default)]
struct Slot {
    next: Option<(Generation, Snapshot)>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    slot: Mutex<Slot>,
    wake: Condvar,
}

/// Handle to the writing thread. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct StateWriter {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
}

impl StateWriter {
    /// Starts the thread; it ends after [`StateWriter::close`].
    pub(crate) fn start(directory: StateDir) -> io::Result<(Self, JoinHandle<()>)> {
        let shared = Arc::new(Shared::default());
        let (report, progress) = watch::channel(Progress::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("state-writer".to_owned())
            .spawn(move || theirs.write_until_closed(&directory, &report))?;
        Ok((Self { shared, progress }, thread))
    }

    /// Hands over a newer state, which replaces one that waits to be written.
    pub(crate) fn submit(&self, generation: Generation, snapshot: Snapshot) {
        self.shared.lock().next = Some((generation, snapshot));
        self.shared.wake.notify_one();
    }

    /// Waits until a successor of this process would find the state `generation`, or a later one.
    ///
    /// Cancel-safe. Fails at the first failed attempt, although the thread goes on trying.
    pub(crate) async fn durable(&self, generation: Generation) -> Result<(), NotDurable> {
        let mut progress = self.progress.clone();
        let reached = progress
            .wait_for(|now| {
                now.durable >= generation
                    || now
                        .failed
                        .as_ref()
                        .is_some_and(|(failed, _)| *failed >= generation)
            })
            .await
            .map_err(|_| NotDurable("the agent is stopping".into()))?;
        match &reached.failed {
            Some((_, why)) if reached.durable < generation => Err(NotDurable(Arc::clone(why))),
            _ => Ok(()),
        }
    }

    /// Lets the thread end once what was handed over is written or has failed once more.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Slot> {
        // The slot is whole after each operation, so a panic elsewhere does not spoil it.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_closed(&self, directory: &StateDir, report: &watch::Sender<Progress>) {
        let mut unflushed = false;
        loop {
            let (generation, snapshot) = match self.take(unflushed) {
                Task::Write(generation, snapshot) => (generation, snapshot),
                Task::Flush => {
                    flush(directory);
                    unflushed = false;
                    continue;
                }
                Task::End => break,
            };
            match directory.store(&snapshot) {
                Ok(()) => {
                    unflushed = true;
                    report.send_modify(|progress| {
                        progress.durable = generation;
                        progress.failed = None;
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "cannot write the table of enrolled pods");
                    report.send_modify(|progress| {
                        progress.failed = Some((generation, error.to_string().into()));
                    });
                    if !self.put_back(generation, snapshot) {
                        break;
                    }
                }
            }
        }
        if unflushed {
            flush(directory);
        }
    }

    /// The next thing to do. What is not flushed yet is, once nothing was written for a while.
    fn take(&self, unflushed: bool) -> Task {
        let mut slot = self.lock();
        loop {
            if let Some((generation, snapshot)) = slot.next.take() {
                return Task::Write(generation, snapshot);
            }
            if slot.closed {
                return Task::End;
            }
            if !unflushed {
                slot = self.wake.wait(slot).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (woken, waited) = self
                .wake
                .wait_timeout(slot, FLUSH_PAUSE)
                .unwrap_or_else(PoisonError::into_inner);
            if waited.timed_out() && woken.next.is_none() {
                return Task::Flush;
            }
            slot = woken;
        }
    }

    /// Keeps a state that could not be written, unless a newer one came, and waits before the next
    /// attempt; a newer state or closing ends the wait. Says whether to go on.
    fn put_back(&self, generation: Generation, snapshot: Snapshot) -> bool {
        let waiting = |slot: &mut Slot| slot.next.is_none() && !slot.closed;
        let (mut slot, _) = self
            .wake
            .wait_timeout_while(self.lock(), RETRY_PAUSE, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        if slot.closed && slot.next.is_none() {
            return false;
        }
        slot.next.get_or_insert((generation, snapshot));
        true
    }
}

enum Task {
    Write(Generation, Snapshot),
    Flush,
    End,
}

fn flush(directory: &StateDir) {
    if let Err(error) = directory.flush::<Snapshot>() {
        // Successors of this process read the file all the same.
        tracing::warn!(%error, "cannot flush the table of enrolled pods to the disk");
    }
}

const FLUSH_PAUSE: Duration = Duration::from_secs(1);
const RETRY_PAUSE: Duration = Duration::from_secs(1);
