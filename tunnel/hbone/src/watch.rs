//! Watches a connection for a peer that went silent, and for disuse.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep};

use crate::http2::Core;
use crate::limits::Limits;
use crate::state::TunnelState;

/// Why the watch ended a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Silent,
    Idle,
}

/// Watches one connection for a peer that went silent, and for disuse.
pub(crate) struct Watch {
    tick: Pin<Box<Sleep>>,
    every: Duration,
    patience: Duration,
    idle: Option<Duration>,
    received: u64,
    /// Set while a ping waits for its answer.
    asked: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(limits: &Limits, idle: Option<Duration>) -> Self {
        Self {
            tick: Box::pin(sleep(limits.ping_interval)),
            every: limits.ping_interval,
            patience: limits.ping_timeout,
            idle,
            received: 0,
            asked: None,
        }
    }

    /// Ready when the connection must end.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        state: &TunnelState,
        core: &mut Core,
        received: u64,
    ) -> Poll<Verdict> {
        loop {
            ready!(self.tick.as_mut().poll(cx));
            let now = Instant::now();
            if let Some(verdict) = self.look(now, state, core, received) {
                return Poll::Ready(verdict);
            }
            self.tick.as_mut().reset((now + self.every).into());
        }
    }

    fn look(
        &mut self,
        now: Instant,
        state: &TunnelState,
        core: &mut Core,
        received: u64,
    ) -> Option<Verdict> {
        if state.streams() == 0
            && !state.retired.get()
            && let Some(idle) = self.idle
        {
            match state.unused_since.get() {
                None => state.unused_since.set(Some(now)),
                Some(since) if now.duration_since(since) >= idle => return Some(Verdict::Idle),
                Some(_) => {}
            }
        }
        if received != self.received {
            // Whoever sends is alive; there is nothing to ask.
            (self.received, self.asked) = (received, None);
            return None;
        }
        match self.asked {
            Some(at) if now.duration_since(at) >= self.patience => return Some(Verdict::Silent),
            Some(_) => {}
            None => {
                core.ping();
                self.asked = Some(now);
            }
        }
        None
    }
}
