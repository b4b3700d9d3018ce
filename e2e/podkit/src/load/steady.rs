//! A connection that lives as long as the load: numbered messages, each answered before the next, and a last one at the end.

use super::clock::Moment;
use super::line::{Fault, Line};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// Whether it talks meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// A message every so often.
    Talks,
    /// Nothing before the last message.
    Silent,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// In good order, after the last message.
    Closed,
    /// Before its time, or with other bytes.
    Broken(Fault, Moment),
    /// The last message was not answered, or our FIN was not.
    Hanging,
}

/// One message's way there and back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// When it was sent.
    pub(super) began: Moment,
    /// How long its answer took.
    pub(super) lasted: Duration,
}

/// One such connection.
pub(super) struct Steady {
    line: Line,
    habit: Habit,
    every: Duration,
    text: String,
    due: Moment,
    expected: Vec<u8>,
    sent: Moment,
    last: bool,
    messages: u64,
    longest: Option<Wait>,
    end: Option<End>,
}

impl Steady {
    /// Begins to connect; `first` says when its first message is due, if it talks.
    pub(super) fn open(
        to: SocketAddr,
        text: String,
        habit: Habit,
        first: Moment,
        every: Duration,
    ) -> Result<Self, Fault> {
        Ok(Self {
            line: Line::open(to)?,
            habit,
            every,
            text,
            due: first,
            expected: Vec::new(),
            sent: first,
            last: false,
            messages: 0,
            longest: None,
            end: None,
        })
    }

    /// Whether it is silent.
    pub(super) fn habit(&self) -> Habit {
        self.habit
    }

    /// Messages answered.
    pub(super) fn messages(&self) -> u64 {
        self.messages
    }

    /// The message that took longest.
    pub(super) fn longest(&self) -> Option<Wait> {
        self.longest
    }

    /// How it ended, if it has.
    pub(super) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Whether it carries bytes by now, as far as one can tell; or has ended.
    pub(super) fn settled(&self) -> bool {
        let heard = self.habit == Habit::Silent || self.messages > 0;
        self.end.is_some() || self.line.connected() && heard
    }

    /// Sends what is due; with `stopping`, the last message.
    pub(super) fn tick(&mut self, now: Moment, stopping: bool) {
        let free = self.end.is_none() && self.line.connected() && self.expected.is_empty();
        let talks = self.habit == Habit::Talks && now >= self.due;
        if free && !self.last && (stopping || talks) {
            self.last = stopping;
            let what = if stopping { "last" } else { "message" };
            self.expected = format!("{} {what} {:08}\n", self.text, self.messages).into_bytes();
            self.line.push(&self.expected);
            self.sent = now;
            self.due = now + self.every;
            self.turn(now);
        }
    }

    /// Its time is over.
    pub(super) fn give_up(&mut self) {
        self.end.get_or_insert(End::Hanging);
    }

    /// Goes on.
    pub(super) fn turn(&mut self, now: Moment) {
        if self.end.is_none() {
            self.end = match self.go(now) {
                Ok(end) => end,
                Err(fault) => Some(End::Broken(fault, now)),
            };
        }
    }

    fn go(&mut self, now: Moment) -> Result<Option<End>, Fault> {
        let went = self.line.turn();
        let received = self.line.received();
        if !self.expected.starts_with(received) {
            return Err(Fault::bytes());
        }
        let whole = received.len() == self.expected.len() && !self.expected.is_empty();
        if whole {
            received.clear();
            self.expected.clear();
            self.messages += 1;
            let wait = Wait {
                began: self.sent,
                lasted: now.since(self.sent),
            };
            if self.longest.is_none_or(|had| wait.lasted > had.lasted) {
                self.longest = Some(wait);
            }
            if self.last {
                self.line.finish()?;
            }
        }
        went?;
        match (self.line.ended(), self.last && self.expected.is_empty()) {
            (false, _) => Ok(None),
            (true, true) => Ok(Some(End::Closed)),
            (true, false) => Err(Fault::end()),
        }
    }
}

impl AsFd for Steady {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}
