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
//! A lane that is alone has longer turns (`tunnel-hbone`'s `turn`): alone in the process, not only on its thread. The kernel
//! takes a processor from a thread, and lets packets for others through, when the thread calls it: the longer it encrypts
//! at a stretch, the longer a quiet pod waits on another thread, too. A lane that has more to do waits until the event loop has
//! been asked what is new: what a quiet pod of its own thread waits for would not be seen otherwise.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::task::{LocalEnterGuard, LocalSet};
use tokio::time::Instant;
use tunnel_hbone::{LaneTurn, later};

/// A lane is alone once no other has had a turn for so long.
const ALONE: Duration = Duration::from_millis(100);

/// A lane says so often at most that it has had a turn: what all threads read must seldom be written.
const SAID: Duration = Duration::from_millis(10);

/// The lanes of the process.
static EVERYBODY: Company = Company::new();

/// Which pods' lanes have had a turn lately.
#[derive(Debug)]
struct Company {
    /// The pod whose lane said so last.
    latest: AtomicUsize,
    /// When another one did, milliseconds of [`clock`]; 0 for never.
    others: AtomicU64,
}

impl Company {
    const fn new() -> Self {
        Self {
            latest: AtomicUsize::new(0),
            others: AtomicU64::new(0),
        }
    }

    /// Two that say so at the same moment are others to each other at the next.
    fn note(&self, pod: usize, now: u64) {
        let latest = self.latest.swap(pod, Ordering::Relaxed);
        // The first of all has no other before it.
        if latest != pod && latest != 0 {
            self.others.store(now, Ordering::Relaxed);
        }
    }

    fn has_others(&self, now: u64) -> bool {
        let others = self.others.load(Ordering::Relaxed);
        others != 0 && now.saturating_sub(others) < millis(ALONE)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since this was first asked, and one more: never 0.
fn clock(now: Instant) -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    1 + millis(now.saturating_duration_since(*BEGAN))
}

/// The tasks of one pod on one thread; a future that ends with the last of them.
#[derive(Debug)]
pub(crate) struct Lane {
    tasks: LocalSet,
    signal: Arc<Signal>,
    waker: Waker,
    /// Its lanes on other threads are no others.
    pod: Arc<str>,
    /// When it last said that it has had a turn.
    said: Option<u64>,
}

impl Lane {
    pub(crate) fn new(pod: &Arc<str>) -> Self {
        let signal = Arc::<Signal>::default();
        Self {
            tasks: LocalSet::new(),
            waker: Arc::clone(&signal).into(),
            signal,
            pod: Arc::clone(pod),
            said: None,
        }
    }

    /// While this is held, tasks that are spawned belong to the lane. So do those that its tasks spawn.
    pub(crate) fn enter(&self) -> LocalEnterGuard {
        self.tasks.enter()
    }

    /// Whether no other pod's lane has had a turn lately; this one has one now.
    fn is_alone(&mut self, company: &Company, now: u64) -> bool {
        if self.said.is_none_or(|said| now >= said + millis(SAID)) {
            self.said = Some(now);
            company.note(Arc::as_ptr(&self.pod).addr(), now);
        }
        !company.has_others(now)
    }
}

impl Future for Lane {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.signal.thread.register(cx.waker());
        self.signal.stage.store(AT_WORK, Ordering::SeqCst);
        let turn = LaneTurn::begin(self.is_alone(&EVERYBODY, clock(Instant::now())));
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
            let [busy, quiet] = ["one", "other"].map(|pod| Lane::new(&Arc::from(pod)));
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
        let company = Company::new();
        let [mut one, mut other] = ["one", "other"].map(|pod| Lane::new(&Arc::from(pod)));
        let (now, later) = (7, 7 + millis(ALONE));
        assert!(one.is_alone(&company, now));
        assert!(one.is_alone(&company, now + 1));
        assert!(!other.is_alone(&company, now + 1));
        // It has just said so, and still sees that another has.
        assert!(!one.is_alone(&company, now + 2));
        assert!(!one.is_alone(&company, now + millis(ALONE) / 2));
        assert!(!one.is_alone(&company, later));
        assert!(one.is_alone(&company, later + millis(ALONE) / 2));
        assert!(!other.is_alone(&company, later + millis(ALONE) / 2));
        assert!(!one.is_alone(&company, later + millis(ALONE) / 2 + millis(SAID)));
    }

    #[test]
    fn lanes_of_different_threads_are_company() {
        let company = Company::new();
        let pod = Arc::from("one");
        let [mut one, mut same] = [Lane::new(&pod), Lane::new(&pod)];
        assert!(one.is_alone(&company, 1));
        assert!(same.is_alone(&company, 1));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| Lane::new(&Arc::from("other")).is_alone(&company, 2));
            assert!(!other.join().unwrap());
        });
        assert!(!one.is_alone(&company, 3));
    }

    #[test]
    fn it_ends_with_its_last_task_and_hears_other_threads() {
        on_a_thread(async {
            let lane = Lane::new(&Arc::from("pod"));
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
