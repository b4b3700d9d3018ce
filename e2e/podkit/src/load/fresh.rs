//! A connection for one request: connect, ask, read the echo, close in good order.

use super::clock::Moment;
use super::line::{Fault, Line};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// How far one has come, for the report of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// No handshake yet.
    Connect,
    /// The request is out, or on its way; the echo is not whole.
    Exchange,
    /// The echo was whole; the other side has not said FIN.
    Close,
}

impl Step {
    /// A word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Exchange => "exchange",
            Self::Close => "close",
        }
    }
}

/// Where a turn has left it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It waits for the other side.
    Waits,
    /// All was as it should be.
    Done,
    /// It ended otherwise.
    Failed(Fault),
}

/// One such connection.
pub(super) struct Fresh {
    line: Line,
    request: Vec<u8>,
    began: Moment,
    answered: Option<Moment>,
}

impl Fresh {
    /// Begins to connect.
    pub(super) fn open(to: SocketAddr, request: Vec<u8>, now: Moment) -> Result<Self, Fault> {
        let mut line = Line::open(to)?;
        line.push(&request);
        Ok(Self {
            line,
            request,
            began: now,
            answered: None,
        })
    }

    /// When it began.
    pub(super) fn began(&self) -> Moment {
        self.began
    }

    /// When its echo was whole.
    pub(super) fn answered(&self) -> Option<Moment> {
        self.answered
    }

    /// What it is doing.
    pub(super) fn step(&self) -> Step {
        match (self.line.connected(), self.answered) {
            (false, _) => Step::Connect,
            (true, None) => Step::Exchange,
            (true, Some(_)) => Step::Close,
        }
    }

    /// Goes on.
    pub(super) fn turn(&mut self, now: Moment) -> Turn {
        self.go(now).unwrap_or_else(Turn::Failed)
    }

    fn go(&mut self, now: Moment) -> Result<Turn, Fault> {
        // What came before an error still counts: it tells how far the connection was.
        let went = self.line.turn();
        let received = &*self.line.received();
        if !self.request.starts_with(received) {
            return Err(Fault::bytes());
        }
        if received.len() == self.request.len() && self.answered.is_none() {
            self.answered = Some(now);
            self.line.finish()?;
        }
        went?;
        match (self.line.ended(), self.answered) {
            (false, _) => Ok(Turn::Waits),
            (true, Some(_)) => Ok(Turn::Done),
            (true, None) => Err(Fault::end()),
        }
    }
}

impl AsFd for Fresh {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }
}
