//! A pod's turn on its thread.
//!
//! All tasks of a pod are in its lane, and lanes take turns. A pod with a thousand busy connections
//! then costs its neighbours one turn of its lane, not a thousand turns of connections. Within a lane
//! tasks take turns as ever.
//!
//! ```text
//! thread: event loop ─► lane a: up to 61 of its tasks, or 32 KiB ─► lane b ─► … ─► event loop ─► …
//! ```
//!
//! A lane that is alone has longer turns (`tunnel-hbone`'s `turn`). One that has more to do waits until
//! the event loop has been asked what is new: what a quiet pod waits for would not be seen otherwise.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::task::{LocalEnterGuard, LocalSet};
use tokio::time::Instant;
use tunnel_hbone::{LaneTurn, later};

/// A lane is alone once no other has had a turn for so long.
const ALONE: Duration = Duration::from_millis(100);

thread_local! {
    /// The lane that had the latest turn on this thread, and when another had one.
    static LATEST: Cell<(usize, Option<Instant>)> = const { Cell::new((0, None)) };
}

/// The tasks of one pod on one thread; a future that ends with the last of them.
#[derive(Debug)]
pub(crate) struct Lane {
    tasks: LocalSet,
    signal: Arc<Signal>,
    waker: Waker,
}

impl Lane {
    pub(crate) fn new() -> Self {
        let signal = Arc::<Signal>::default();
        Self {
            tasks: LocalSet::new(),
            waker: Arc::clone(&signal).into(),
            signal,
        }
    }

    /// While this is held, tasks that are spawned belong to the lane. So do those that its tasks spawn.
    pub(crate) fn enter(&self) -> LocalEnterGuard {
        self.tasks.enter()
    }

    /// Whether no other lane of the thread has had a turn lately; this one has one now.
    fn is_alone(&self, now: Instant) -> bool {
        let own = Arc::as_ptr(&self.signal) as usize;
        let (latest, mut others) = LATEST.get();
        if latest != own {
            // The first of all has no other before it.
            others = (latest != 0).then_some(now);
            LATEST.set((own, others));
        }
        others.is_none_or(|others| now.duration_since(others) >= ALONE)
    }
}

impl Future for Lane {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.signal.thread.register(cx.waker());
        self.signal.stage.store(AT_WORK, Ordering::SeqCst);
        let turn = LaneTurn::begin(self.is_alone(Instant::now()));
        let Self { tasks, waker, .. } = &mut *self;
        let polled = Pin::new(tasks).poll(&mut Context::from_waker(waker));
        drop(turn);
        let more = self.signal.stage.swap(IDLE, Ordering::SeqCst) == MORE;
        if polled.is_pending() && more {
            later(cx);
        }
        polled
    }
}

const IDLE: u8 = 0;
const AT_WORK: u8 = 1;
/// At work, and there is more to do than this turn does.
const MORE: u8 = 2;

/// Whether the lane wants its next turn. Tasks are woken from other threads, too.
#[derive(Debug, Default)]
struct Signal {
    stage: AtomicU8,
    thread: AtomicWaker,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let order = Ordering::SeqCst;
        if self.stage.compare_exchange(AT_WORK, MORE, order, order) == Err(IDLE) {
            self.thread.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::task::{spawn_local, yield_now};

    use super::*;

    fn on_a_thread(work: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, work);
    }

    /// Counts what it gets to do, for ever.
    async fn greedy(turns: Rc<Cell<u64>>) {
        loop {
            turns.set(turns.get() + 1);
            let mut first = true;
            std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                if std::mem::take(&mut first) {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
        }
    }

    #[test]
    fn a_quiet_pod_waits_for_one_turn_of_a_greedy_one() {
        on_a_thread(async {
            let turns = Rc::new(Cell::new(0));
            let [busy, quiet] = [Lane::new(), Lane::new()];
            {
                let _in = busy.enter();
                for _ in 0..1000 {
                    spawn_local(greedy(Rc::clone(&turns)));
                }
            }
            let (mut near, mut far) = UnixStream::pair().unwrap();
            let echo = {
                let _in = quiet.enter();
                spawn_local(async move {
                    let mut byte = [0];
                    while far.read_exact(&mut byte).await.is_ok() {
                        far.write_all(&byte).await.unwrap();
                    }
                })
            };
            spawn_local(busy);
            spawn_local(quiet);
            for _ in 0..100 {
                let before = turns.get();
                near.write_all(&[7]).await.unwrap();
                near.read_exact(&mut [0]).await.unwrap();
                let meanwhile = turns.get() - before;
                // There and back, each seen by the event loop and then acted upon: of a thousand that are
                // always ready, no more than a few turns of the lane.
                assert!(meanwhile <= 5 * 61, "{meanwhile} turns of others");
            }
            drop(near);
            echo.await.unwrap();
        });
    }

    #[test]
    fn a_lane_is_alone_when_no_other_has_had_a_turn_lately() {
        on_a_thread(async {
            let [one, other] = [Lane::new(), Lane::new()];
            let now = Instant::now();
            assert!(one.is_alone(now));
            assert!(one.is_alone(now));
            assert!(!other.is_alone(now));
            assert!(!one.is_alone(now));
            assert!(!one.is_alone(now + ALONE / 2));
            assert!(one.is_alone(now + ALONE));
        });
    }

    #[test]
    fn it_ends_with_its_last_task_and_hears_other_threads() {
        on_a_thread(async {
            let lane = Lane::new();
            let (tell, told) = tokio::sync::oneshot::channel();
            {
                let _in = lane.enter();
                spawn_local(async move {
                    told.await.unwrap();
                    spawn_local(yield_now());
                });
            }
            let lane = spawn_local(lane);
            yield_now().await;
            assert!(!lane.is_finished());
            std::thread::spawn(move || tell.send(()).unwrap());
            lane.await.unwrap();
        });
    }
}
