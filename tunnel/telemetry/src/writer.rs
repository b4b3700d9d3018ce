//! The log writer: a bounded buffer in front of one thread.
//!
//! A caller appends a finished line to a shared buffer under a lock held for one copy. The thread
//! swaps the buffer for an empty one and writes it with a single call. Nobody waits for the disk
//! or the pipe: when the buffer is full the line is dropped and counted, and the thread says so in
//! the log as soon as it can write again.
//!
//! The thread is woken when the first line arrives after silence, when a batch is worth writing
//! and for urgent lines; in between it lets lines gather for a moment, so that a busy
//! data plane pays one wake-up and one write for hundreds of connections.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much may wait for the writer before lines are dropped.
#[derive(Clone, Copy, Debug)]
pub struct QueueBounds {
    /// Lines waiting.
    pub lines: usize,
    /// Bytes waiting.
    pub bytes: usize,
}

impl Default for QueueBounds {
    fn default() -> Self {
        Self {
            lines: 10_000,
            bytes: 8 << 20,
        }
    }
}

/// Whether a line may wait for company.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// Written with its batch.
    Batched,
    /// Written at once: somebody is about to look for it.
    Now,
}

/// Lines gather this long before a batch is written.
const GATHER: Duration = Duration::from_millis(50);
/// A batch of this size is written without waiting longer.
const WORTH_WRITING: usize = 64 << 10;
/// An emptied buffer larger than this is given back to the allocator.
const KEEP_CAPACITY: usize = 256 << 10;
/// How long the guard waits for the last lines when the sink does not take them.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Appends lines; never blocks on the sink.
#[derive(Clone)]
pub(crate) struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
    written: Condvar,
    dropped: AtomicU64,
    bounds: QueueBounds,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    lines: usize,
    thread: Thread,
    urgent: bool,
    closing: bool,
    finished: bool,
    /// Lines accepted and lines handed to the sink since the start.
    accepted: u64,
    done: u64,
}

/// What the writer thread is doing, which decides who has to wake it.
#[derive(Default, PartialEq, Eq)]
enum Thread {
    /// Writing; it looks at the buffer again by itself.
    #[default]
    Busy,
    /// Nothing to do: the next line wakes it.
    Idle,
    /// Letting lines gather: a full batch or an urgent line wakes it.
    Gathering,
}

/// Flushes and stops the writer thread when dropped. Keep it until the very end of `main`.
#[must_use = "dropping the guard stops the log writer"]
pub struct WriterGuard {
    shared: Arc<Shared>,
}

/// Writes the notice about lines that were dropped into the buffer.
pub(crate) type DropNotice = Box<dyn Fn(&mut String, u64) + Send>;

pub(crate) fn start(
    sink: Box<dyn Write + Send>,
    bounds: QueueBounds,
    notice: DropNotice,
) -> std::io::Result<(Queue, WriterGuard)> {
    let shared = Arc::new(Shared {
        state: Mutex::new(State::default()),
        work: Condvar::new(),
        written: Condvar::new(),
        dropped: AtomicU64::new(0),
        bounds,
    });
    let worker = Worker {
        shared: shared.clone(),
        sink,
        notice,
        reported: 0,
    };
    std::thread::Builder::new()
        .name("log-writer".to_owned())
        .spawn(move || worker.run())?;
    Ok((
        Queue {
            shared: shared.clone(),
        },
        WriterGuard { shared },
    ))
}

impl Queue {
    /// Takes one line that ends in a newline.
    pub(crate) fn push(&self, line: &str, urgency: Urgency) {
        let shared = &*self.shared;
        let mut state = shared.lock();
        let full = state.lines >= shared.bounds.lines
            || state.buffer.len() + line.len() > shared.bounds.bytes;
        if full || state.finished {
            drop(state);
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.buffer.extend_from_slice(line.as_bytes());
        state.lines += 1;
        state.accepted += 1;
        state.urgent |= urgency == Urgency::Now;
        let wake = match state.thread {
            Thread::Busy => false,
            Thread::Idle => true,
            Thread::Gathering => state.urgent || state.buffer.len() >= WORTH_WRITING,
        };
        if wake {
            // Only one caller wakes the thread; those after it see it busy.
            state.thread = Thread::Busy;
            drop(state);
            shared.work.notify_one();
        }
    }

    /// Lines lost because the buffer was full or the sink failed.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything accepted so far has been handed to the sink.
    pub(crate) fn flush(&self, patience: Duration) -> bool {
        self.shared.flush(patience)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn flush(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        let target = state.accepted;
        state.urgent = true;
        self.work.notify_one();
        while state.done < target && !state.finished {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return false;
            };
            state = self
                .written
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.done >= target
    }
}

impl Drop for WriterGuard {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.flush(LAST_WORDS);
    }
}

struct Worker {
    shared: Arc<Shared>,
    sink: Box<dyn Write + Send>,
    notice: DropNotice,
    reported: u64,
}

impl Worker {
    fn run(mut self) {
        let mut batch = Vec::new();
        while let Some(lines) = self.next_batch(&mut batch) {
            self.append_drop_notice(&mut batch);
            let outcome = self.sink.write_all(&batch).and_then(|()| self.sink.flush());
            if outcome.is_err() {
                self.shared.dropped.fetch_add(lines, Ordering::Relaxed);
            }
            batch.clear();
            batch.shrink_to(KEEP_CAPACITY);
            let mut state = self.shared.lock();
            state.done += lines;
            drop(state);
            self.shared.written.notify_all();
        }
        self.shared.lock().finished = true;
        self.shared.written.notify_all();
    }

    /// Swaps the gathered lines into `batch`; `None` once closed and empty.
    fn next_batch(&self, batch: &mut Vec<u8>) -> Option<u64> {
        let shared = &*self.shared;
        let mut state = shared.lock();
        while state.buffer.is_empty() {
            if state.closing {
                return None;
            }
            state.thread = Thread::Idle;
            state = shared
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        if !state.urgent && !state.closing && state.buffer.len() < WORTH_WRITING {
            state.thread = Thread::Gathering;
            // A spurious wake-up costs one early write, nothing else.
            state = shared
                .work
                .wait_timeout(state, GATHER)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.thread = Thread::Busy;
        state.urgent = false;
        std::mem::swap(&mut state.buffer, batch);
        Some(std::mem::take(&mut state.lines) as u64)
    }

    fn append_drop_notice(&mut self, batch: &mut Vec<u8>) {
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        if dropped > self.reported {
            let mut line = String::new();
            (self.notice)(&mut line, dropped - self.reported);
            batch.extend_from_slice(line.as_bytes());
            self.reported = dropped;
        }
    }
}

#[cfg(test)]
mod tests;
