//! When to stop: a signal, or whoever asks the admin interface.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// The reasons to stop.
pub(crate) struct StopReasons {
    terminate: Signal,
    interrupt: Signal,
    asked: Arc<Notify>,
}

impl StopReasons {
    /// Starts to listen for signals; must be called within a runtime.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            asked: Arc::default(),
        })
    }

    /// A closure that asks for a stop.
    pub(crate) fn asker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let asked = Arc::clone(&self.asked);
        Arc::new(move || asked.notify_one())
    }

    /// Waits for the next reason and says which it was.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = self.asked.notified() => "the admin interface",
        }
    }
}
