//! One connection: its streams, its windows, and what is to be sent.
//!
//! It has no socket and no clock. What arrives is given to it ([`Core::receive`]), what it has to say gathers in
//! [`Gather`]; the driver moves both. Pumps and the driver reach it through [`Shared`], one at a time: they are on one
//! thread, and nothing in here waits.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Waker};

use super::blocks::Block;
use super::farewell::{Farewell, LAST_OF_ALL};
use super::fault::{Broken, Fault};
use super::fields::Asked;
use super::frame::{self, PREFACE, Reason};
use super::parse::Parser;
use super::settings::{self, FIRST_WINDOW, Theirs};
use super::stream::{Gate, Line, Sink, Stream};
use crate::hpack::{Decoder, Encoder};
use crate::limits::Limits;
use crate::promise::Promise;
use crate::spread::Spread;
use crate::tls::Gather;

/// What a peer may remember of what we read, bytes: the protocol's default.
const TABLE: usize = 4096;
/// The ping that asks for a sign of life.
const ALIVE: [u8; 8] = *b"alive? .";

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It opens streams.
    Client,
    /// It serves those of the peer.
    Server,
}

/// What the connection allows the peer, of [`Limits`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub stream_window: u32,
    pub tunnel_window: u32,
    pub header_list: usize,
    pub max_streams: usize,
    pub early_resets: usize,
    pub mistakes: usize,
}

/// The core of a connection, for the driver and the pumps of one thread.
pub(crate) type Shared = Rc<RefCell<Core>>;

pub(crate) struct Core {
    pub(super) role: Role,
    pub(super) bounds: Bounds,
    pub(super) parser: Parser,
    pub(super) block: Option<Block>,
    pub(super) encoder: Encoder,
    pub(super) decoder: Decoder,
    pub(super) theirs: Theirs,
    /// The peer has told its settings.
    pub(super) settled: bool,
    pub(super) streams: HashMap<u32, Stream, Spread>,
    /// The next stream that we open.
    pub(super) next: u32,
    /// The latest that the peer has opened.
    pub(super) last: u32,
    /// Opened by the peer, and seen by nobody.
    pub(super) asked: VecDeque<(u32, Asked)>,
    pub(super) send_window: i64,
    pub(super) receive_window: i64,
    pub(super) owed: u32,
    /// Streams that have something to send and wait for room, in the order in which they came.
    pub(super) blocked: VecDeque<u32>,
    /// Our answers, and where in what is sent each ends.
    pub(super) answers: VecDeque<(u64, u32)>,
    pub(super) gather: Gather,
    /// A header block while it is written, and a value of it.
    pub(super) scratch: Vec<u8>,
    pub(super) text: String,
    /// Streams that were reset before anybody looked at them.
    pub(super) early_resets: usize,
    /// Streams that ended because of a mistake of the peer.
    pub(super) mistakes: usize,
    /// What the peer has promised since somebody asked last.
    pub(super) promise: Promise,
    pub(super) farewell: Farewell,
    /// Nothing more can be done with it.
    over: Option<Broken>,
    driver: Option<Waker>,
    /// The driver is at work, or will be.
    woken: bool,
}

impl Core {
    /// Begins a connection: preface and settings are the first to be sent.
    pub(crate) fn new(role: Role, limits: &Limits) -> Self {
        let serves = role == Role::Server;
        let mut core = Self {
            role,
            bounds: Bounds {
                stream_window: limits.stream_window,
                tunnel_window: limits.tunnel_window,
                header_list: limits.header_list as usize,
                max_streams: limits.max_streams as usize,
                early_resets: limits.pending_resets,
                mistakes: limits.local_resets,
            },
            parser: Parser::new(limits.max_frame as usize, serves),
            block: None,
            encoder: Encoder::new(),
            decoder: Decoder::new(TABLE),
            theirs: Theirs::default(),
            settled: false,
            streams: HashMap::default(),
            next: 1,
            last: 0,
            asked: VecDeque::new(),
            send_window: i64::from(FIRST_WINDOW),
            receive_window: i64::from(limits.tunnel_window),
            owed: 0,
            blocked: VecDeque::new(),
            answers: VecDeque::new(),
            gather: Gather::default(),
            scratch: Vec::new(),
            text: String::new(),
            early_resets: 0,
            mistakes: 0,
            promise: Promise::Unknown,
            farewell: Farewell::default(),
            over: None,
            driver: None,
            woken: false,
        };
        if !serves {
            core.gather.put(PREFACE);
        }
        core.gather.put(&settings::ours(limits, serves));
        let more = limits.tunnel_window.saturating_sub(FIRST_WINDOW);
        if more > 0 {
            core.gather.put(&frame::window_update(0, more));
        }
        core
    }

    /// There is something to send, or to decide: the driver has its turn.
    pub(crate) fn wake_driver(&mut self) {
        if !self.woken
            && let Some(driver) = &self.driver
        {
            self.woken = true;
            driver.wake_by_ref();
        }
    }

    /// The driver begins its turn.
    pub(crate) fn begin_turn(&mut self, cx: &Context<'_>) {
        self.woken = true;
        if !self
            .driver
            .as_ref()
            .is_some_and(|d| d.will_wake(cx.waker()))
        {
            self.driver = Some(cx.waker().clone());
        }
    }

    /// The driver's turn is over: who has something for it wakes it.
    pub(crate) const fn end_turn(&mut self) {
        self.woken = false;
    }

    pub(crate) const fn gather(&mut self) -> &mut Gather {
        &mut self.gather
    }

    /// Whether the peer has told its settings.
    pub(crate) const fn is_settled(&self) -> bool {
        self.settled
    }

    /// How many streams the peer lets us have.
    pub(crate) const fn allowed(&self) -> usize {
        self.theirs.streams as usize
    }

    /// Whether a stream can be opened, if there is room for one.
    pub(crate) fn opens(&self) -> bool {
        !self.farewell.theirs && self.over.is_none() && self.next < LAST_OF_ALL
    }

    /// Whether any stream is left that has not been ended by both sides.
    pub(crate) fn has_open_streams(&self) -> bool {
        let open = |stream: &Stream| !(stream.local_done && stream.remote_done);
        self.streams.values().any(open)
    }

    /// A stream of the peer that nobody has seen.
    pub(crate) fn take_asked(&mut self) -> Option<(u32, Asked)> {
        let asked = self.asked.pop_front()?;
        // A tunnel lives for days, and some callers hang up at once: those that stay make up for them.
        self.early_resets = self.early_resets.saturating_sub(1);
        self.mistakes = self.mistakes.saturating_sub(1);
        Some(asked)
    }

    /// What the peer has promised since this was asked last.
    pub(crate) const fn take_promise(&mut self) -> Option<Promise> {
        match std::mem::replace(&mut self.promise, Promise::Unknown) {
            Promise::Unknown => None,
            promise => Some(promise),
        }
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&mut self) {
        self.gather.put(&frame::ping(0, ALIVE));
    }

    /// The connection is over: so are its streams.
    pub(crate) fn end(&mut self, why: &Broken) {
        self.over.get_or_insert_with(|| why.clone());
        for stream in self.streams.values_mut() {
            stream.fail(why.clone());
        }
        self.driver = None;
    }

    /// Ends a stream for a mistake of the peer.
    pub(super) fn refuse(&mut self, id: u32, reason: Reason) -> Result<(), Fault> {
        self.gather.put(&frame::reset(id, reason));
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.fail(Broken::Ended(reason));
        }
        self.mistakes += 1;
        if self.mistakes > self.bounds.mistakes {
            return Err(Fault::excessive("too many streams with mistakes"));
        }
        Ok(())
    }

    /// Opens the gates of streams whose answers are with the kernel.
    pub(crate) fn open_gates(&mut self) {
        let sent = self.gather.sent_total();
        while let Some((end, id)) = self.answers.front().copied() {
            if end > sent {
                break;
            }
            self.answers.pop_front();
            let given = match self.streams.get_mut(&id) {
                Some(stream) => stream.open_gate(),
                None => 0,
            };
            self.owe_stream(id, given);
        }
    }

    /// Forgets a stream; what it held is the peer's to send again.
    pub(super) fn forget(&mut self, id: u32) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.owe(stream.waiting.len());
        match stream.line {
            Line::No => {}
            Line::Waits => self.blocked.retain(|blocked| *blocked != id),
            Line::Granted => self.grant(),
        }
        // Others may wait for this one's end.
        self.wake_driver();
        Some(stream)
    }

    /// From now on what arrives goes to `sink`; a stream whose answer is out has its gate open.
    pub(super) fn attach(&mut self, id: u32, sink: Rc<dyn Sink>) {
        let given = match self.streams.get_mut(&id) {
            Some(stream) => {
                stream.sink = Some(sink);
                if stream.gate == Gate::Open {
                    stream.open_gate()
                } else {
                    0
                }
            }
            None => 0,
        };
        self.owe_stream(id, given);
    }
}
