//! Threads with blocking sockets that begin together.

use anyhow::{Result, anyhow};
use nix::sys::prctl::set_timerslack;
use std::thread;
use std::time::{Duration, Instant};

const STACK: usize = 128 * 1024;
/// Long enough for all threads to be there.
const AHEAD: Duration = Duration::from_millis(50);

/// The moment at which a crew that is about to be made begins.
pub(super) fn beginning() -> Instant {
    Instant::now() + AHEAD
}

/// Sleeps until then, if that is in the future.
pub(super) fn sleep_until(moment: Instant) {
    let left = moment.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        thread::sleep(left);
    }
}

/// The same work for each, all at once; the outcomes in the same order.
pub(super) fn work<I: Send, T: Send>(
    items: Vec<I>,
    work: impl Fn(I) -> Result<T> + Sync,
) -> Result<Vec<Result<T>>> {
    let work = &work;
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for item in items {
            let one = move || {
                // Else the kernel adds some 50 microseconds to every sleep, and so to every time of an open loop.
                set_timerslack(1)?;
                work(item)
            };
            let builder = thread::Builder::new().stack_size(STACK);
            threads.push(builder.spawn_scoped(scope, one)?);
        }
        let outcomes = threads.into_iter().map(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|_| Err(anyhow!("a thread of the measurement panicked")))
        });
        Ok(outcomes.collect())
    })
}
