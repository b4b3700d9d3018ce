//! Two cores back to back: whatever the order of things, bytes arrive once and in theirs, nobody waits for ever, and all
//! windows are whole in the end.

use std::collections::VecDeque;
use std::task::Poll;

use super::super::send::Sent;
use super::*;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }
}

/// What the `at`th byte of a stream is, in one of its directions.
fn expected(stream: u32, forth: bool, at: usize) -> u8 {
    let n = at as u64 * 31 + u64::from(stream) * 7 + u64::from(forth) * 101;
    u8::try_from(n % 251).unwrap()
}

/// An application that takes what it likes and looks at every byte.
struct Checks {
    stream: u32,
    forth: bool,
    got: Cell<usize>,
    takes: Cell<usize>,
}

impl Sink for Checks {
    fn give(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut n = 0;
        for byte in pieces.iter().flat_map(|piece| piece.iter()) {
            if n == self.takes.get() {
                break;
            }
            let at = self.got.get() + n;
            assert_eq!(*byte, expected(self.stream, self.forth, at));
            n += 1;
        }
        if n == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.takes.set(self.takes.get() - n);
        self.got.set(self.got.get() + n);
        Ok(n)
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Well,
    /// Here, on purpose.
    Cut,
    /// By the other side.
    Broken,
    Refused,
}

/// A stream with its application, as a pump has it.
struct Side {
    stream: u32,
    handle: Option<Handle>,
    woken: Arc<Woken>,
    app: Rc<Checks>,
    asks: bool,
    total: usize,
    ready: usize,
    sent: usize,
    /// It waits for the application to take more.
    down_waits: bool,
    /// It is cut when it has sent so much.
    fate: Option<usize>,
    end: Option<End>,
}

impl Side {
    fn new(mut handle: Handle, stream: u32, asks: bool, random: &mut Random, most: usize) -> Self {
        if random.once_in(2) {
            handle.falls_with(Reason::CANCEL);
        }
        let app = Rc::new(Checks {
            stream,
            forth: !asks,
            got: Cell::new(0),
            takes: Cell::new(random.below(most)),
        });
        let total = random.below(most);
        handle.attach(Rc::clone(&app) as Rc<dyn Sink>);
        let woken = Arc::new(Woken::default());
        woken.wake_by_ref();
        let fate = random.once_in(6).then(|| random.below(total + 1));
        Self {
            stream,
            handle: Some(handle),
            woken,
            app,
            asks,
            total,
            ready: 0,
            sent: 0,
            down_waits: false,
            fate,
            end: None,
        }
    }

    /// The application has more to say, and takes more.
    fn stir(&mut self, random: &mut Random, most: usize) {
        if self.ready < self.total {
            self.ready = self.total.min(self.ready + 1 + random.below(most));
            self.woken.wake_by_ref();
        }
        self.app
            .takes
            .set(self.app.takes.get() + random.below(most));
        if std::mem::take(&mut self.down_waits) {
            self.woken.wake_by_ref();
        }
    }

    fn over(&mut self, end: End) {
        self.handle = None;
        self.end = Some(end);
    }

    fn poll(&mut self, random: &mut Random) {
        self.woken.take();
        let Some(handle) = &self.handle else { return };
        if self.asks
            && let Some((status, _)) = handle.take_answer()
        {
            if status != 200 {
                return self.over(End::Refused);
            }
            self.asks = false;
        }
        let waker = Arc::clone(&self.woken).into();
        match handle.news(&Context::from_waker(&waker)) {
            News::None => {}
            News::Broken(_) => return self.over(End::Broken),
            News::Stuck(stuck) => panic!("{stuck:?}"),
        }
        if self.fate.is_some_and(|fate| fate <= self.sent) {
            return self.over(End::Cut);
        }
        let up = self.up(1 + random.below(5000));
        let down = self.down(1 + random.below(5000));
        if let Some(handle) = &self.handle {
            handle.pass_on();
        }
        if up && down {
            self.over(End::Well);
        }
    }

    /// Whether all is sent.
    fn up(&mut self, mut left: usize) -> bool {
        let Some(handle) = &self.handle else {
            return true;
        };
        while left > 0 {
            if handle.is_finished() {
                return true;
            }
            let (stream, forth, sent) = (self.stream, self.app.forth, self.sent);
            let (ready, ended) = (self.ready - sent, sent == self.total);
            let outcome = handle.send(left, |rooms| {
                let mut n = 0;
                for place in rooms
                    .iter_mut()
                    .flat_map(|room| room.iter_mut())
                    .take(ready)
                {
                    *place = expected(stream, !forth, sent + n);
                    n += 1;
                }
                if n == 0 && !ended {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(n)
            });
            match outcome {
                Ok(Sent::Bytes(n)) => (self.sent, left) = (sent + n, left - n),
                Ok(Sent::End) => return true,
                Ok(Sent::NoRoom) | Err(_) => return false,
            }
        }
        self.woken.wake_by_ref();
        false
    }

    /// Whether all was given.
    fn down(&mut self, mut left: usize) -> bool {
        let Some(handle) = self.handle.as_ref().filter(|_| !self.asks) else {
            return false;
        };
        let (app, waits) = (&self.app, &mut self.down_waits);
        let give = |pieces: &[IoSlice<'_>]| match app.give(pieces) {
            Err(_) => {
                *waits = true;
                Poll::Pending
            }
            given => Poll::Ready(given),
        };
        let polled = handle.poll_down(&mut left, give);
        if left == 0 {
            self.woken.wake_by_ref();
        }
        polled.is_ready()
    }
}

/// One end of the connection: its core, its driver, its streams.
struct Node {
    core: Shared,
    driver: Arc<Woken>,
    arrived: VecDeque<u8>,
    writable: bool,
    /// The driver waits for that.
    held_back: bool,
    sides: Vec<Side>,
}

impl Node {
    fn new(role: Role, limits: &Limits) -> Self {
        let driver = Arc::new(Woken::default());
        driver.wake_by_ref();
        Self {
            core: shared(role, limits),
            driver,
            arrived: VecDeque::new(),
            writable: true,
            held_back: false,
            sides: Vec::new(),
        }
    }

    fn allow(&mut self, writable: bool) {
        self.writable = writable;
        if writable && std::mem::take(&mut self.held_back) {
            self.driver.wake_by_ref();
        }
    }

    fn read(&mut self, random: &mut Random) {
        let some = 1 + random.below(self.arrived.len().max(1) * 2);
        let input: Vec<u8> = self.arrived.drain(..some.min(self.arrived.len())).collect();
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < input.len() {
            let end = input.len().min(at + 1 + random.below(3000));
            pieces.push(at..end);
            at = end;
        }
        self.core.borrow_mut().receive(&input, &pieces).unwrap();
        if !self.arrived.is_empty() {
            self.driver.wake_by_ref();
        }
    }

    fn write(&mut self, peer: &mut Self) {
        let core = &mut *self.core.borrow_mut();
        while !core.gather().is_empty() {
            if !self.writable {
                self.held_back = true;
                break;
            }
            peer.arrived.extend(core.gather().take_plaintext());
            peer.driver.wake_by_ref();
            core.open_gates();
        }
        core.end_turn();
        core.grant();
    }

    /// A turn of the driver, as `driver.rs` has it.
    fn drive(&mut self, peer: &mut Self, random: &mut Random, most: usize) {
        self.driver.take();
        let waker = Arc::clone(&self.driver).into();
        let cx = Context::from_waker(&waker);
        self.core.borrow_mut().begin_turn(&cx);
        self.read(random);
        loop {
            let asked = self.core.borrow_mut().take_asked();
            let Some((id, _)) = asked else { break };
            let handle = Handle::new(&self.core, id, Reason::REFUSED_STREAM);
            match random.below(12) {
                0 => handle.refuse(http::StatusCode::FORBIDDEN),
                1 => drop(handle),
                _ => {
                    if handle.accept(None).is_ok() {
                        self.sides.push(Side::new(handle, id, false, random, most));
                    }
                }
            }
        }
        self.write(peer);
        balanced(&self.core);
    }

    fn idle(&self) -> bool {
        let flag = |woken: &Woken| woken.0.load(Ordering::Relaxed) == 0;
        flag(&self.driver) && self.sides.iter().all(|side| flag(&side.woken))
    }

    /// Something that may happen.
    fn happens(&mut self, peer: &mut Self, random: &mut Random, most: usize) {
        let any = random.below(self.sides.len().max(1));
        match random.below(10) {
            0 => self.allow(random.once_in(2)),
            1..=3 => {
                if let Some(side) = self.sides.get_mut(any) {
                    side.stir(random, most);
                }
            }
            4..=6 => self.turn(any, random),
            _ => {
                if self.driver.0.load(Ordering::Relaxed) > 0 {
                    self.drive(peer, random, most);
                }
            }
        }
    }

    /// Everybody has a turn who wants one.
    fn round(&mut self, peer: &mut Self, random: &mut Random, most: usize) {
        for any in 0..self.sides.len() {
            self.sides[any].stir(random, most);
            self.turn(any, random);
        }
        if self.driver.0.load(Ordering::Relaxed) > 0 {
            self.drive(peer, random, most);
        }
    }

    /// A pump has its turn, if it was woken.
    fn turn(&mut self, any: usize, random: &mut Random) {
        if let Some(side) = self.sides.get_mut(any)
            && side.woken.0.load(Ordering::Relaxed) > 0
        {
            side.poll(random);
        }
    }
}

/// Nothing is given back twice. A frame counts from its begin, and some of it may be under way.
fn balanced(core: &Shared) {
    assert!(balance(core) <= i64::from(core.borrow().bounds.tunnel_window));
    let core = core.borrow();
    for stream in core.streams.values().filter(|stream| stream.takes()) {
        let owed = i64::from(stream.owed) + i64::try_from(stream.waiting.len()).unwrap();
        let whole = i64::from(core.bounds.stream_window);
        assert!(stream.receive_window + owed <= whole);
    }
}

/// Tells each other's settings, with tunnels' windows that the protocol cannot tell when they are small.
fn pair(limits: &Limits) -> [Node; 2] {
    let mut random = Random(1);
    let mut client = Node::new(Role::Client, limits);
    let mut server = Node::new(Role::Server, limits);
    for _ in 0..50 {
        client.drive(&mut server, &mut random, 1);
        server.drive(&mut client, &mut random, 1);
    }
    for node in [&client, &server] {
        node.core.borrow_mut().send_window = i64::from(limits.tunnel_window);
    }
    [client, server]
}

/// Everybody has as many turns as they want.
fn settle([client, server]: &mut [Node; 2], random: &mut Random, most: usize) {
    for _ in 0..100_000 {
        client.allow(true);
        server.allow(true);
        client.round(server, random, most);
        server.round(client, random, most);
        let apps = |node: &Node| node.sides.iter().all(|side| side.ready == side.total);
        if client.idle() && server.idle() && apps(client) && apps(server) {
            return;
        }
    }
    panic!("they never come to rest");
}

fn check([client, server]: &[Node; 2]) {
    let mut well = 0;
    for side in &client.sides {
        let other = server
            .sides
            .iter()
            .find(|other| other.stream == side.stream);
        let ends = (side.end, other.and_then(|other| other.end));
        assert!(side.end.is_some(), "{} hangs: {ends:?}", side.stream);
        let Some(other) = other else { continue };
        assert!(other.end.is_some(), "{} hangs: {ends:?}", side.stream);
        if side.fate.is_none() && other.fate.is_none() {
            assert_eq!(ends, (Some(End::Well), Some(End::Well)), "{}", side.stream);
            assert_eq!((side.sent, side.app.got.get()), (side.total, other.total));
            assert_eq!((other.sent, other.app.got.get()), (other.total, side.total));
            well += 1;
        }
    }
    assert!(well > 0);
    for (one, other) in [(client, server), (server, client)] {
        assert_whole(&one.core);
        let (one, other) = (one.core.borrow(), other.core.borrow());
        assert!(one.streams.is_empty());
        assert_eq!(one.blocked, []);
        assert_eq!(one.send_window, other.receive_window);
    }
}

fn play(seed: u64, limits: &Limits, most: usize, streams: usize) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut nodes = pair(limits);
    let mut left = streams;
    while left > 0 {
        let [client, server] = &mut nodes;
        let open = client
            .sides
            .iter()
            .filter(|side| side.end.is_none())
            .count();
        if open < limits.max_streams as usize && random.once_in(20) {
            let id = client.core.borrow_mut().connect(&head()).unwrap();
            let handle = Handle::new(&client.core, id, Reason::CONNECT_ERROR);
            client
                .sides
                .push(Side::new(handle, id, true, &mut random, most));
            left -= 1;
        }
        client.happens(server, &mut random, most);
        server.happens(client, &mut random, most);
    }
    settle(&mut nodes, &mut random, most);
    check(&nodes);
}

#[test]
fn bytes_arrive_once_and_in_order_through_tiny_windows() {
    let limits = Limits {
        stream_window: 1000,
        tunnel_window: 3000,
        max_streams: 20,
        ..Limits::default()
    };
    for seed in 1..40 {
        play(seed, &limits, 9000, 30);
    }
}

#[test]
fn bytes_arrive_once_and_in_order_through_sockets_that_are_slow() {
    let limits = Limits {
        stream_window: 1 << 20,
        tunnel_window: 8 << 20,
        max_streams: 20,
        ..Limits::default()
    };
    for seed in 1..4 {
        play(seed, &limits, 300_000, 25);
    }
}
