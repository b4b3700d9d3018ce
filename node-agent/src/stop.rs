//! Signals to the worker itself. The holder decides when to stop; without one, signals do.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// Why the worker is to stop, other than by its holder's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A signal.
    Signal(&'static str),
    /// The admin interface.
    Admin,
}

/// Hears wishes to stop.
pub(crate) struct Wishes {
    terminate: Signal,
    interrupt: Signal,
    asked: Arc<Notify>,
}

impl Wishes {
    /// Starts to listen; must be called within a runtime.
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

    /// Waits for the next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Signal("SIGTERM"),
            _ = self.interrupt.recv() => Wish::Signal("SIGINT"),
            () = self.asked.notified() => Wish::Admin,
        }
    }
}
