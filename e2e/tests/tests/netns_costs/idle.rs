//! Connections that are open and say nothing.

use crate::scene::{PORT, Scene};
use anyhow::Result;
use e2e_tests::Pod;
use e2e_tests::app;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

pub(crate) const CONNECTIONS: usize = 2000;

/// The callers' ends.
pub(crate) struct Idle {
    _streams: Vec<TcpStream>,
}

impl Idle {
    /// One after the other, each of which carries one message there and back.
    pub(crate) fn open(scene: &Scene, count: usize, message: &[u8]) -> Result<Self> {
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let stream = app::connect(&scene.client, scene.server.at(PORT))?;
            app::exchange(&stream, message)?;
            streams.push(stream);
        }
        Ok(Self { _streams: streams })
    }
}

/// A server without a thread for each connection: one message back, and nothing more until this is dropped.
pub(crate) struct Keeper {
    netns: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn start(pod: &Pod, port: u16, size: usize) -> Result<Self> {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = pod.netns.run(|| TcpListener::bind(any))??;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || keep(&listener, size, &stopped));
        Ok(Self {
            netns: pod.netns.path().to_owned(),
            stop,
            thread: Some(thread),
        })
    }
}

fn keep(listener: &TcpListener, size: usize, stop: &AtomicBool) {
    let mut kept = Vec::new();
    let mut message = vec![0; size];
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        // What goes wrong shows at the caller's end.
        let Ok(mut stream) = stream else { continue };
        if stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {
            kept.push(stream);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let own = SocketAddr::from((Ipv6Addr::LOCALHOST, PORT));
        // Wakes the thread, whose end closes everything.
        let woken = e2e_netlab::inside(&self.netns, || {
            TcpStream::connect_timeout(&own, Duration::from_secs(1))
        });
        if let (Ok(Ok(_)), Some(thread)) = (woken, self.thread.take()) {
            drop(thread.join());
        }
    }
}

/// As many descriptors as may be had, for this process and those that it starts from now on.
pub(crate) fn raise_descriptors() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}
