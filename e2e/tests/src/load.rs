//! New connections at a steady rate, whatever becomes of those before.

use crate::app::exchange;
use crate::world::Pod;
use anyhow::{Context, Result, bail};
use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// For a connection to be made, and for each read of it.
const LIMIT: Duration = Duration::from_secs(20);

/// A load under way.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<Vec<Call>>>,
}

/// One of its connections.
#[derive(Debug)]
pub struct Call {
    /// When it was begun.
    pub began: Instant,
    /// How long it took, to its end in order or its failure.
    pub took: Duration,
    /// Why it failed.
    pub failure: Option<String>,
}

impl Load {
    /// Begins `rate` connections a second from a pod to an echoing server: a message there and back, and an end in order.
    #[must_use]
    pub fn start(from: &Pod, to: SocketAddr, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, netns) = (Arc::clone(&stop), from.netns.path().to_owned());
        // Threads are where the thread is that starts them.
        let thread =
            thread::spawn(move || e2e_netlab::inside(&netns, || begin(to, rate, &stopped))?);
        Self { stop, thread }
    }

    /// Begins no more, and waits for the end of those begun.
    ///
    /// # Errors
    /// The load itself broke.
    pub fn stop(self) -> Result<Vec<Call>> {
        self.stop.store(true, Ordering::SeqCst);
        match self.thread.join() {
            Ok(calls) => calls,
            Err(_) => bail!("the load panicked"),
        }
    }
}

fn begin(to: SocketAddr, rate: u32, stop: &AtomicBool) -> Result<Vec<Call>> {
    let first = Instant::now();
    let mut calls = Vec::new();
    for number in 0_u32.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let due = first + Duration::from_secs(number.into()) / rate;
        // The rhythm is what this is for; nothing waits for it.
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let call = thread::Builder::new().stack_size(64 * 1024);
        calls.push(call.spawn(move || call_once(to, number))?);
    }
    let mut ended = Vec::with_capacity(calls.len());
    for call in calls {
        match call.join() {
            Ok(call) => ended.push(call),
            Err(_) => bail!("a call panicked"),
        }
    }
    Ok(ended)
}

fn call_once(to: SocketAddr, number: u32) -> Call {
    let began = Instant::now();
    let failure = exchange_once(to, number).err();
    Call {
        began,
        took: began.elapsed(),
        failure: failure.map(|error| format!("{error:#}")),
    }
}

fn exchange_once(to: SocketAddr, number: u32) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT).context("connect")?;
    stream.set_read_timeout(Some(LIMIT))?;
    exchange(&stream, format!("call {number} of many").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let rest = stream.read_to_end(&mut Vec::new()).context("the end")?;
    anyhow::ensure!(rest == 0, "{rest} bytes too many");
    Ok(())
}
