//! Milliseconds of the kernel's monotonic clock, as a load in a pod writes them down, and what was done when.

use anyhow::Result;
use e2e_netlab::ProcessId;
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// A process that is killed, and one that lingers, is gone within this time.
pub(super) const GONE: Duration = Duration::from_secs(5);

/// Now.
///
/// # Errors
/// The kernel has no such clock.
pub fn now_ms() -> Result<f64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(Duration::from(now).as_secs_f64() * 1e3)
}

/// Something that was done to a process, and between which moments.
#[derive(Clone, Copy, Debug)]
pub struct Blow {
    /// Not done yet.
    pub from_ms: f64,
    /// Done.
    pub to_ms: f64,
}

impl Blow {
    /// Does it.
    ///
    /// # Errors
    /// That of what is done.
    pub fn of<T>(what: impl FnOnce() -> Result<T>) -> Result<Self> {
        let from_ms = now_ms()?;
        what()?;
        Ok(Self {
            from_ms,
            to_ms: now_ms()?,
        })
    }

    /// Kills a process. Only when it has ended is it done: on a busy machine a thread of it may accept one more connection
    /// after the signal was sent.
    ///
    /// # Errors
    /// The kernel refuses, or the process lives on.
    pub fn kill(process: ProcessId) -> Result<Self> {
        Self::of(|| {
            process.signal(Signal::SIGKILL)?;
            process.wait_for_end(GONE)
        })
    }
}
