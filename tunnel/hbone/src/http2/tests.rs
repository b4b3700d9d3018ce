//! The core against frames made by hand, and against another core.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod accounts;
mod ends;
mod lines;
mod random;
mod rules;

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use super::core::{Core, Role, Shared};
use super::fault::{Broken, Fault};
use super::frame::{self, HEAD, Head, PREFACE, Reason, flag, kind};
use super::handle::{Handle, News};
use super::stream::Sink;
use crate::connect::ConnectHead;
use crate::limits::Limits;

/// A frame as a peer writes it.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    [
        &Head::new(payload.len(), kind, flags, stream).write()[..],
        payload,
    ]
    .concat()
}

fn data(stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind::DATA, 0, stream, payload)
}

fn last_data(stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flag::END_STREAM, stream, payload)
}

/// A setting: its number and its value.
fn setting(name: u16, value: u32) -> Vec<u8> {
    let payload = [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(kind::SETTINGS, 0, 0, &payload)
}

fn headers(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flag::END_HEADERS, stream, block)
}

/// A CONNECT that leaves the table as it is.
fn connect_block() -> Vec<u8> {
    [&b"\x02\x07CONNECT\x01\x0b"[..], b"10.0.0.1:80"].concat()
}

fn request(stream: u32) -> Vec<u8> {
    headers(stream, &connect_block())
}

/// ":status: 200" is the eighth of the fixed fields.
fn ok(stream: u32) -> Vec<u8> {
    headers(stream, &[0x88])
}

fn reset(stream: u32, reason: Reason) -> Vec<u8> {
    frame::reset(stream, reason).to_vec()
}

fn update(stream: u32, more: u32) -> Vec<u8> {
    frame::window_update(stream, more).to_vec()
}

fn limits() -> Limits {
    Limits {
        stream_window: 1000,
        tunnel_window: 100_000,
        max_streams: 4,
        ..Limits::default()
    }
}

fn shared(role: Role, limits: &Limits) -> Shared {
    Rc::new(RefCell::new(Core::new(role, limits)))
}

/// A server whose client has said its first words.
fn server_with(limits: &Limits) -> Shared {
    let core = shared(Role::Server, limits);
    hear(&core, PREFACE).unwrap();
    hear(&core, &frame(kind::SETTINGS, 0, 0, &[])).unwrap();
    said(&core);
    core
}

fn server() -> Shared {
    server_with(&limits())
}

/// A client whose server has said its first words.
fn client() -> Shared {
    let core = shared(Role::Client, &limits());
    hear(&core, &frame(kind::SETTINGS, 0, 0, &[])).unwrap();
    said(&core);
    core
}

fn hear(core: &Shared, bytes: &[u8]) -> Result<(), Fault> {
    core.borrow_mut()
        .receive(bytes, std::slice::from_ref(&(0..bytes.len())))
}

/// Why the connection ends when it hears this.
fn fault(core: &Shared, bytes: &[u8]) -> Reason {
    hear(core, bytes).unwrap_err().reason()
}

fn frames(mut rest: &[u8]) -> Vec<(Head, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, behind)) = rest.split_first_chunk::<HEAD>() {
        let head = Head::read(*head);
        let (payload, next) = behind.split_at(head.length);
        frames.push((head, payload.to_vec()));
        rest = next;
    }
    frames
}

/// What it has sent since the last time.
fn said(core: &Shared) -> Vec<(Head, Vec<u8>)> {
    let bytes = core.borrow_mut().gather().take_plaintext();
    frames(bytes.strip_prefix(PREFACE).unwrap_or(&bytes))
}

/// Its frames of one kind: stream, and what the payload begins with as a number.
fn said_of(core: &Shared, kind: u8) -> Vec<(u32, u32)> {
    let number = |payload: &[u8]| payload.first_chunk().map_or(0, |b| u32::from_be_bytes(*b));
    said(core)
        .iter()
        .filter(|(head, _)| head.kind == kind)
        .map(|(head, payload)| (head.stream, number(payload)))
        .collect()
}

/// The stream that was asked for, as who serves it has it.
fn taken(core: &Shared) -> Handle {
    let (id, _) = core.borrow_mut().take_asked().unwrap();
    Handle::new(core, id, Reason::REFUSED_STREAM)
}

/// A stream of the peer that is answered, with an application.
fn served(core: &Shared, id: u32) -> (Handle, Rc<App>) {
    hear(core, &request(id)).unwrap();
    let handle = taken(core);
    handle.accept(None).unwrap();
    let app = App::new(usize::MAX);
    handle.attach(Rc::clone(&app) as Rc<dyn Sink>);
    said(core);
    core.borrow_mut().open_gates();
    (handle, app)
}

fn head() -> ConnectHead<'static> {
    ConnectHead {
        authority: "10.0.0.1:80".parse().unwrap(),
        baggage: None,
        client: "10.0.0.2:4000".parse().unwrap(),
        service: None,
        trace: 1,
        span: 1,
    }
}

/// A stream of ours, not answered, with an application.
fn called(core: &Shared) -> (Handle, Rc<App>) {
    let id = core.borrow_mut().connect(&head()).unwrap();
    let handle = Handle::new(core, id, Reason::CANCEL);
    let app = App::new(usize::MAX);
    handle.attach(Rc::clone(&app) as Rc<dyn Sink>);
    (handle, app)
}

/// Why it is broken.
fn broken(handle: &Handle) -> Option<Broken> {
    match handle.news(&Context::from_waker(Waker::noop())) {
        News::Broken(broken) => Some(broken),
        _ => None,
    }
}

/// What the connection's window, what is owed and what waits come to: always the same.
fn balance(core: &Shared) -> i64 {
    let core = core.borrow();
    let waiting: usize = core.streams.values().map(|s| s.waiting.len()).sum();
    core.receive_window + i64::from(core.owed) + i64::try_from(waiting).unwrap()
}

fn assert_whole(core: &Shared) {
    let window = core.borrow().bounds.tunnel_window;
    assert_eq!(balance(core), i64::from(window));
}

/// An application.
struct App {
    got: RefCell<Vec<u8>>,
    /// Bytes that it takes before it says that it takes none now.
    takes: Cell<usize>,
    fails: Cell<bool>,
}

impl App {
    fn new(takes: usize) -> Rc<Self> {
        Rc::new(Self {
            got: RefCell::default(),
            takes: Cell::new(takes),
            fails: Cell::new(false),
        })
    }

    fn got(&self) -> Vec<u8> {
        self.got.borrow().clone()
    }
}

impl Sink for App {
    fn give(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.fails.get() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let all: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.iter().copied())
            .collect();
        let n = all.len().min(self.takes.get());
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.takes.set(self.takes.get() - n);
        self.got.borrow_mut().extend(&all[..n]);
        Ok(n)
    }
}

/// Counts how often somebody was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    /// Since the last time.
    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Somebody who is woken when the stream has news.
fn watched(handle: &Handle) -> Arc<Woken> {
    let woken = Arc::new(Woken::default());
    let waker = Arc::clone(&woken).into();
    handle.news(&Context::from_waker(&waker));
    woken
}
