//! Keeps one HTTP/2 connection going: polls it, sends once for each turn, watches for silence.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use crate::limits::Limits;
use crate::promise::{Promise, Promised};
use crate::record::{Heads, Records, TlsIo};

/// What is known of a tunnel by those who open streams on it.
#[derive(Debug)]
pub struct TunnelState {
    streams: Cell<usize>,
    retired: Cell<bool>,
    closed: Cell<bool>,
    silent: Cell<bool>,
    unused_since: Cell<Option<Instant>>,
    /// What the peer said on this tunnel, and what it said on any.
    promise: Cell<Promise>,
    promised: Promised,
    /// Our answers that are on their way; used by the accepting side.
    heads: Rc<Heads>,
}

impl TunnelState {
    pub(crate) fn new(promised: Promised, heads: Rc<Heads>) -> Rc<Self> {
        Rc::new(Self {
            streams: Cell::new(0),
            retired: Cell::new(false),
            closed: Cell::new(false),
            silent: Cell::new(false),
            unused_since: Cell::new(None),
            promise: Cell::default(),
            promised,
            heads,
        })
    }

    /// Streams open now.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.get()
    }

    /// Whether new streams may be opened.
    #[must_use]
    pub fn usable(&self) -> bool {
        !self.retired.get() && !self.closed.get()
    }

    /// No new streams; the tunnel closes when the last one ends.
    pub fn retire(&self) {
        self.retired.set(true);
    }

    pub(crate) fn set_closed(&self) {
        self.closed.set(true);
    }

    /// The peer no longer answers: what is lost may be its answers.
    pub(crate) fn set_silent(&self) {
        self.silent.set(true);
    }

    pub(crate) const fn was_silent(&self) -> bool {
        self.silent.get()
    }

    /// Remembers what an answer of the peer promised.
    pub(crate) fn learn(&self, promise: Promise) {
        self.promise.set(promise);
        self.promised.learn(promise);
    }

    /// What the peer has promised: on this tunnel, or else on an earlier one.
    pub(crate) fn promise(&self) -> Promise {
        match self.promise.get() {
            Promise::Unknown => self.promised.get(),
            known => known,
        }
    }

    pub(crate) const fn heads(&self) -> &Rc<Heads> {
        &self.heads
    }
}

/// One open stream in the tunnel's count, for as long as it is held.
#[derive(Debug)]
pub struct StreamGuard(Rc<TunnelState>);

impl StreamGuard {
    pub(crate) fn new(state: &Rc<TunnelState>) -> Self {
        state.streams.set(state.streams.get() + 1);
        state.unused_since.set(None);
        Self(Rc::clone(state))
    }

    pub(crate) const fn state(&self) -> &Rc<TunnelState> {
        &self.0
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
    }
}

/// Why the watch ended a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Silent,
    Idle,
}

/// Watches one connection for a peer that went silent, and for disuse.
pub(crate) struct Watch {
    ping: Option<PingPong>,
    tick: Pin<Box<Sleep>>,
    every: Duration,
    patience: Duration,
    idle: Option<Duration>,
    received: u64,
    /// Set while a ping waits for its answer.
    asked: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(ping: Option<PingPong>, limits: &Limits, idle: Option<Duration>) -> Self {
        Self {
            ping,
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
        received: u64,
    ) -> Poll<Verdict> {
        if self.asked.is_some()
            && let Some(ping) = &mut self.ping
            && ping.poll_pong(cx).is_ready()
        {
            self.asked = None;
        }
        loop {
            ready!(self.tick.as_mut().poll(cx));
            let now = Instant::now();
            if let Some(verdict) = self.look(now, state, received) {
                return Poll::Ready(verdict);
            }
            self.tick.as_mut().reset((now + self.every).into());
        }
    }

    fn look(&mut self, now: Instant, state: &TunnelState, received: u64) -> Option<Verdict> {
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
            self.received = received;
            return None;
        }
        match self.asked {
            Some(at) if now.duration_since(at) >= self.patience => return Some(Verdict::Silent),
            Some(_) => {}
            None => {
                if let Some(ping) = &mut self.ping
                    && ping.send_ping(Ping::opaque()).is_ok()
                {
                    self.asked = Some(now);
                }
            }
        }
        None
    }
}

/// Sends what the connection framed in this turn.
pub(crate) fn send_turn<S, R>(io: &TlsIo<S, R>, cx: &mut Context<'_>) -> std::io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    R: Records,
{
    match io.poll_send(cx) {
        Poll::Ready(result) => result,
        // The socket is full; it wakes this task when there is room.
        Poll::Pending => Ok(()),
    }
}
