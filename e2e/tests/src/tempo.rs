//! How long requests take that follow each other at a steady rate, each on a connection of its own.

use crate::app::exchange;
use crate::world::Pod;
use anyhow::{Context, Result, bail};
use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

/// Requests under way.
#[derive(Debug)]
pub struct Tempo {
    stop: Arc<AtomicBool>,
    new: thread::JoinHandle<Result<Vec<Duration>>>,
    old: thread::JoinHandle<Result<Vec<Duration>>>,
}

/// How long each of them took, the shortest first.
#[derive(Clone, Debug)]
pub struct Times(Vec<Duration>);

/// What was seen until the end.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Requests on a connection of their own, from connecting to the end in order.
    pub new: Times,
    /// Messages there and back on one connection that was open all the time.
    pub old: Times,
}

impl Tempo {
    /// Begins a request in each period, unless one takes longer, and a message on an open connection.
    ///
    /// # Errors
    /// The first connection is refused.
    pub fn start(from: &Pod, to: SocketAddr, period: Duration) -> Result<Self> {
        let open = crate::app::connect(from, to)?;
        exchange(&open, b"first")?;
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, netns) = (Arc::clone(&stop), from.netns.path().to_owned());
        let new = thread::spawn(move || {
            let request = || request(to);
            e2e_netlab::inside(&netns, || steadily(period, &stopped, request))?
        });
        let stopped = Arc::clone(&stop);
        let old =
            thread::spawn(move || steadily(period, &stopped, || exchange(&open, b"still there?")));
        Ok(Self { stop, new, old })
    }

    /// Begins no more.
    ///
    /// # Errors
    /// A request failed.
    pub fn stop(self) -> Result<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        Ok(Seen {
            new: join(self.new).context("requests on new connections")?,
            old: join(self.old).context("messages on an open connection")?,
        })
    }
}

fn join(thread: thread::JoinHandle<Result<Vec<Duration>>>) -> Result<Times> {
    match thread.join() {
        Ok(took) => took.map(Times::new),
        Err(_) => bail!("the thread panicked"),
    }
}

fn steadily(
    period: Duration,
    stop: &AtomicBool,
    request: impl Fn() -> Result<()>,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        let began = Instant::now();
        request().with_context(|| format!("request {}", took.len()))?;
        took.push(began.elapsed());
        // The rhythm is what this is for; nothing waits for it.
        thread::sleep(period.saturating_sub(began.elapsed()));
    }
    Ok(took)
}

fn request(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT).context("connect")?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    exchange(&stream, b"there and back")?;
    stream.shutdown(Shutdown::Write)?;
    let rest = stream.read_to_end(&mut Vec::new()).context("the end")?;
    anyhow::ensure!(rest == 0, "{rest} bytes too many");
    Ok(())
}

impl Times {
    /// Puts them in order.
    #[must_use]
    pub fn new(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        Self(took)
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The longest of so many thousandths that were shortest.
    #[must_use]
    pub fn of_thousand(&self, part: usize) -> Duration {
        let at = (self.0.len() * part / 1000).min(self.0.len().saturating_sub(1));
        self.0.get(at).copied().unwrap_or_default()
    }

    /// The longest of all.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.0.last().copied().unwrap_or_default()
    }
}
