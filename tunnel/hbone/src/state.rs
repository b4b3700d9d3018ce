//! What is known of a tunnel by those who open streams on it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use crate::promise::{Promise, Promised};

/// What is known of a tunnel by those who open streams on it.
#[derive(Debug)]
pub struct TunnelState {
    streams: Cell<usize>,
    pub(crate) retired: Cell<bool>,
    closed: Cell<bool>,
    silent: Cell<bool>,
    pub(crate) unused_since: Cell<Option<Instant>>,
    /// What the peer said on this tunnel, and what it said on any.
    promise: Cell<Promise>,
    promised: Promised,
}

impl TunnelState {
    pub(crate) fn new(promised: Promised) -> Rc<Self> {
        Rc::new(Self {
            streams: Cell::new(0),
            retired: Cell::new(false),
            closed: Cell::new(false),
            silent: Cell::new(false),
            unused_since: Cell::new(None),
            promise: Cell::default(),
            promised,
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

    pub(crate) fn retired_and_unused(&self) -> bool {
        !self.usable() && self.streams() == 0
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
