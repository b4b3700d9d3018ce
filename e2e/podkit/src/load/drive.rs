//! The loop: opens what is due whether or not what was opened before is answered, and ends when told.

use super::Options;
use super::clock::Moment;
use super::fresh::{Fresh, Step, Turn};
use super::report::Report;
use super::steady::{End, Habit, Steady};
use anyhow::{Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::Duration;

/// How long the last message of a long-lived connection, and its close, may take.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long all long-lived connections may take to be there.
const OPENING: Duration = Duration::from_secs(20);
/// How often what is due is looked at.
const TICK: u16 = 2;
const INPUT: u64 = 0;
const SIGNAL: u64 = 1;
const STEADY: u64 = 2;
const FRESH: u64 = 1 << 32;

/// What ends a load before its time.
struct Orders {
    signals: SignalFd,
    input: std::io::Stdin,
}

/// A load under way.
pub(super) struct Drive<'a> {
    options: &'a Options,
    epoll: Epoll,
    orders: Orders,
    steady: Vec<Steady>,
    fresh: BTreeMap<u64, Fresh>,
    report: Report,
    told: bool,
}

impl<'a> Drive<'a> {
    /// Watches for orders and begins to open the long-lived connections.
    pub(super) fn new(options: &'a Options, signals: &SigSet) -> Result<Self> {
        let orders = Orders {
            signals: SignalFd::with_flags(signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?,
            input: std::io::stdin(),
        };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(
            &orders.signals,
            EpollEvent::new(EpollFlags::EPOLLIN, SIGNAL),
        )?;
        match epoll.add(&orders.input, EpollEvent::new(EpollFlags::EPOLLIN, INPUT)) {
            // A file or nothing at all: its end means nothing.
            Err(Errno::EPERM | Errno::EBADF) => {}
            other => other?,
        }
        let mut drive = Self {
            options,
            epoll,
            orders,
            steady: Vec::new(),
            fresh: BTreeMap::new(),
            report: Report::default(),
            told: false,
        };
        drive.open_steady(Moment::now()?)?;
        Ok(drive)
    }

    fn open_steady(&mut self, now: Moment) -> Result<()> {
        let options = self.options;
        for number in 0..options.keep {
            let habit = if number + 1 == options.keep {
                Habit::Silent
            } else {
                Habit::Talks
            };
            let text = format!("{} long-lived {number:03}", options.marker);
            let one = Steady::open(options.to, text, habit, now, options.every)
                .map_err(|fault| anyhow!("a long-lived connection: {}", fault.0))?;
            let token = STEADY + u64::from(number);
            self.epoll.add(&one, watched(token))?;
            self.steady.push(one);
        }
        Ok(())
    }

    /// Until all long-lived connections carry bytes or have ended.
    pub(super) fn settle(&mut self) -> Result<()> {
        let began = Moment::now()?;
        while !self.steady.iter().all(Steady::settled) {
            if self.told || Moment::now()?.since(began) > OPENING {
                bail!(
                    "the long-lived connections are not there: {}",
                    self.opened()
                );
            }
            self.wait()?;
            self.tick_steady(Moment::now()?, false);
        }
        let broken = |one: &Steady| matches!(one.end(), Some(End::Broken(..)));
        if self.steady.iter().any(broken) {
            bail!(
                "a long-lived connection broke at its start: {}",
                self.opened()
            );
        }
        Ok(())
    }

    fn opened(&self) -> String {
        let states = self
            .steady
            .iter()
            .map(|one| (one.settled(), one.end().cloned()));
        format!("{:?}", states.collect::<Vec<_>>())
    }

    /// Opens new connections at the rate until the time is over or somebody says so; then lets all end.
    pub(super) fn run(mut self) -> Result<Value> {
        let began = Moment::now()?;
        crate::say(&json!({"ready": true, "at_ms": began.millis()}).to_string());
        let over = began + self.options.lasting;
        let mut next = 0_u64;
        loop {
            let now = Moment::now()?;
            if self.told || now >= over {
                break;
            }
            while self.due(began, next) <= now {
                self.open(next, self.due(began, next))?;
                next += 1;
            }
            self.tick_steady(now, false);
            self.drop_late(now);
            self.wait()?;
        }
        let stopped = Moment::now()?;
        loop {
            let now = Moment::now()?;
            self.tick_steady(now, true);
            self.drop_late(now);
            if now.since(stopped) > LAST_WORDS {
                self.steady.iter_mut().for_each(Steady::give_up);
            }
            if self.fresh.is_empty() && self.steady.iter().all(|one| one.end().is_some()) {
                return Ok(self.report.json(began, now, &self.steady));
            }
            self.wait()?;
        }
    }

    /// When a new connection is to be opened.
    fn due(&self, began: Moment, number: u64) -> Moment {
        began + Duration::from_nanos(number * 1_000_000_000 / u64::from(self.options.rate))
    }

    fn open(&mut self, number: u64, due: Moment) -> Result<()> {
        let now = Moment::now()?;
        self.report.begun(now.since(due));
        let request = format!("{} new {number:08}\n", self.options.marker);
        match Fresh::open(self.options.to, request.into_bytes(), now) {
            Ok(one) => {
                self.epoll.add(&one, watched(FRESH + number))?;
                self.fresh.insert(number, one);
            }
            Err(fault) => self.report.failed(Step::Connect, &fault, now, now),
        }
        Ok(())
    }

    fn tick_steady(&mut self, now: Moment, stopping: bool) {
        for one in &mut self.steady {
            one.tick(now, stopping);
        }
    }

    /// Gives up on those whose time is over; they are in order of their beginning.
    fn drop_late(&mut self, now: Moment) {
        while let Some(first) = self.fresh.first_entry() {
            if now.since(first.get().began()) <= self.options.limit {
                return;
            }
            let one = first.remove();
            let fault = super::line::Fault::late();
            self.report.failed(one.step(), &fault, one.began(), now);
        }
    }

    fn wait(&mut self) -> Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let count = match self.epoll.wait(&mut events, EpollTimeout::from(TICK)) {
            Err(Errno::EINTR) => 0,
            other => other?,
        };
        let now = Moment::now()?;
        for event in &events[..count] {
            match event.data() {
                INPUT => self.read_orders()?,
                SIGNAL => self.told |= self.orders.signals.read_signal()?.is_some(),
                token if token >= FRESH => self.turn(token - FRESH, now),
                token => {
                    let place = usize::try_from(token - STEADY)?;
                    if let Some(one) = self.steady.get_mut(place) {
                        one.turn(now);
                    }
                }
            }
        }
        Ok(())
    }

    /// Only the end of the input is an order.
    fn read_orders(&mut self) -> Result<()> {
        if self.orders.input.read(&mut [0; 256])? == 0 {
            self.told = true;
            self.epoll.delete(self.orders.input.as_fd())?;
        }
        Ok(())
    }

    fn turn(&mut self, number: u64, now: Moment) {
        let Some(one) = self.fresh.get_mut(&number) else {
            return;
        };
        match one.turn(now) {
            Turn::Waits => return,
            Turn::Done => self.report.done(one),
            Turn::Failed(fault) => {
                self.report.failed(one.step(), &fault, one.began(), now);
            }
        }
        self.fresh.remove(&number);
    }
}

/// Every change of a connection, once.
fn watched(token: u64) -> EpollEvent {
    let changes = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP;
    EpollEvent::new(changes | EpollFlags::EPOLLET, token)
}
