//! Waiting for a fact with a deadline, and giving up early when a person pressed Ctrl-C.

use anyhow::{Context, Result, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

static CANCELLED: AtomicBool = AtomicBool::new(false);
const PAUSE: Duration = Duration::from_millis(10);

/// Asks every wait and every next step to give up; tear-down still runs.
pub fn cancel() {
    CANCELLED.store(true, Ordering::SeqCst);
}

/// An error once [`cancel`] was called.
///
/// # Errors
/// The run was cancelled.
pub fn check() -> Result<()> {
    if CANCELLED.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    Ok(())
}

/// Something that no waiting can mend, such as the end of the process that was to answer.
#[derive(Debug)]
pub struct Hopeless(pub String);

impl std::fmt::Display for Hopeless {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Hopeless {}

/// Asks until there is an answer; the last "not yet" is part of the error.
///
/// # Errors
/// Cancelled, [`Hopeless`], or no answer in time.
pub fn until<T>(what: &str, lasting: Duration, mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        check()?;
        match ask() {
            Ok(value) => return Ok(value),
            Err(error) if error.is::<Hopeless>() => return Err(error).context(what.to_owned()),
            Err(error) if start.elapsed() > lasting => {
                return Err(error).with_context(|| format!("{what}: not within {lasting:?}"));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}
