//! A connection that must not notice what is done to others.

use crate::app::{connect, exchange};
use crate::world::Pod;
use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A connection that keeps echoing, and how long its slowest message took.
#[derive(Debug)]
pub struct Pulse {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<Rhythm>>,
}

/// What a pulse saw.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// Messages that came back.
    pub beats: u64,
    /// The slowest.
    pub slowest: Duration,
}

impl Pulse {
    /// Starts it.
    ///
    /// # Errors
    /// The connection is refused, or the first message does not come back.
    pub fn start(from: &Pod, to: SocketAddr) -> Result<Self> {
        let stream = connect(from, to)?;
        exchange(&stream, b"first")?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || beat(&stream, &stopped));
        Ok(Self { stop, thread })
    }

    /// Ends it, after some more messages. It must have lived until now.
    ///
    /// # Errors
    /// A message did not come back.
    pub fn stop(self) -> Result<Rhythm> {
        self.stop.store(true, Ordering::SeqCst);
        match self.thread.join() {
            Ok(rhythm) => rhythm,
            Err(_) => bail!("the pulse panicked"),
        }
    }
}

fn beat(stream: &TcpStream, stop: &AtomicBool) -> Result<Rhythm> {
    let mut rhythm = Rhythm {
        beats: 0,
        slowest: Duration::ZERO,
    };
    while !stop.load(Ordering::SeqCst) || rhythm.beats < 20 {
        let began = Instant::now();
        exchange(stream, b"still there?").with_context(|| format!("after {rhythm:?}"))?;
        rhythm.beats += 1;
        rhythm.slowest = rhythm.slowest.max(began.elapsed());
        // The rhythm of the test's own measurement; nothing waits for it.
        thread::sleep(Duration::from_millis(5));
    }
    Ok(rhythm)
}
