//! One stream of a connection: windows, what waits, and who is told.
//!
//! What arrives goes to the application at once, by the hand of whoever read it from the tunnel, as long as the
//! application takes it. Only what it does not take waits here, and the pump is woken to see to it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::Waker;

use http::StatusCode;

use super::fault::Broken;
use crate::budget::Held;
use crate::promise::Promise;

/// Where a stream's bytes go: an application's connection, and who counts.
pub(crate) trait Sink {
    /// Gives it some of the bytes; [`io::ErrorKind::WouldBlock`] when it takes none now.
    fn give(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// Whether bytes may go to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Our answer is not with the kernel yet.
    Shut,
    Open,
}

/// Why nothing more can be given to an application.
#[derive(Debug)]
pub(crate) enum Stuck {
    /// Its connection failed.
    Failed(io::Error),
    /// All streams of the thread together hold too much, this one more than its share.
    OverBudget,
}

/// A stream's place among those that have something to send and no room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// It does not wait.
    No,
    Waits,
    /// It was woken because there is room, and has not looked yet.
    Granted,
}

pub(crate) struct Stream {
    /// What we may send, bytes; below zero when the peer has made its windows smaller.
    pub send_window: i64,
    /// What the peer may send, bytes.
    pub receive_window: i64,
    /// Taken by the application, and not told to the peer.
    pub owed: u32,
    /// We have said that we send no more.
    pub local_done: bool,
    /// The peer has said so.
    pub remote_done: bool,
    pub broken: Option<Broken>,
    /// The peer's answer; none on streams of the peer.
    pub answer: Option<(StatusCode, Promise)>,
    /// The peer has answered, or need not.
    pub answered: bool,
    pub gate: Gate,
    pub waiting: VecDeque<u8>,
    held: Held,
    pub sink: Option<Rc<dyn Sink>>,
    /// Why nothing more can be given to the application.
    pub stuck: Option<Stuck>,
    pub waker: Option<Waker>,
    pub line: Line,
}

impl Stream {
    pub(crate) fn new(send_window: u32, receive_window: u32, ours: bool) -> Self {
        Self {
            send_window: i64::from(send_window),
            receive_window: i64::from(receive_window),
            owed: 0,
            local_done: false,
            remote_done: false,
            broken: None,
            answer: None,
            answered: !ours,
            gate: if ours { Gate::Open } else { Gate::Shut },
            waiting: VecDeque::new(),
            held: Held::default(),
            sink: None,
            stuck: None,
            waker: None,
            line: Line::No,
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// It ends before its time, unless it has ended.
    pub(crate) fn fail(&mut self, why: Broken) {
        if self.counts() {
            self.broken = Some(why);
            self.wake();
        }
    }

    fn stick(&mut self, why: Stuck) {
        self.stuck = Some(why);
        self.wake();
    }

    /// Whether bytes for it are of use to anybody.
    pub(crate) fn takes(&self) -> bool {
        self.broken.is_none() && self.stuck.is_none() && !self.remote_done
    }

    /// Whether the protocol counts it: whoever still has bytes of one that has ended does not matter to the peer.
    pub(crate) const fn counts(&self) -> bool {
        self.broken.is_none() && !(self.local_done && self.remote_done)
    }

    /// Gives the application what has arrived; what it does not take waits. How much does not wait.
    pub(crate) fn arrive(&mut self, pieces: &[IoSlice<'_>]) -> usize {
        let mut given = 0;
        if self.gate == Gate::Open
            && self.waiting.is_empty()
            && let Some(sink) = &self.sink
        {
            match sink.give(pieces) {
                Ok(n) => given = n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.stick(Stuck::Failed(error));
                    // Nobody will take it; others of the connection may use the room.
                    return pieces.iter().map(|piece| piece.len()).sum();
                }
            }
        }
        let mut skip = given;
        let mut kept = 0;
        for piece in pieces {
            let rest = piece.get(skip..).unwrap_or_default();
            skip = skip.saturating_sub(piece.len());
            kept += rest.len();
            self.waiting.extend(rest);
        }
        if kept > 0 {
            if !self.held.add(kept) {
                self.stick(Stuck::OverBudget);
            } else if self.gate == Gate::Open {
                self.wake();
            }
        }
        given
    }

    /// Gives the application what waits by `give`. How much it took.
    pub(crate) fn drain(
        &mut self,
        give: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let (first, second) = self.waiting.as_slices();
        let n = give(&[IoSlice::new(first), IoSlice::new(second)])?;
        self.waiting.drain(..n);
        if self.waiting.is_empty() {
            // An idle stream holds nothing.
            self.waiting = VecDeque::new();
        }
        self.held.give(n);
        Ok(n)
    }

    /// Our answer is with the kernel: the application gets what waits for it. How much it took.
    pub(crate) fn open_gate(&mut self) -> usize {
        self.gate = Gate::Open;
        let mut given = 0;
        if !self.waiting.is_empty()
            && let Some(sink) = self.sink.clone()
        {
            match self.drain(|pieces| sink.give(pieces)) {
                Ok(n) => given = n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => self.stick(Stuck::Failed(error)),
            }
        }
        if self.remote_done || !self.waiting.is_empty() {
            self.wake();
        }
        given
    }
}
