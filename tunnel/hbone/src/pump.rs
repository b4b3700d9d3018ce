//! Moves bytes between an application's connection and a stream of a tunnel.
//!
//! From the tunnel to the application bytes mostly go without it: whoever reads the tunnel gives them to the
//! application at once (`http2/stream.rs`). What the application did not take, and the end, are left to the pump.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::StatusCode;

use crate::app::AppStream;
use crate::client::OpenStream;
use crate::error::StreamError;
use crate::http2::{Broken, Handle, News, Reason, Sent, Sink, Stuck};
use crate::kept::Kept;
use crate::promise::Promise;
use crate::server::Accepted;
use crate::state::StreamGuard;
use crate::turn::{self, Turn};

/// Counts what passes, while it passes.
pub trait Meter: Unpin + 'static {
    /// Bytes the application (or the first connection of a relay) sent.
    fn sent_by_app(&self, bytes: u64);
    /// Bytes it was given.
    fn given_to_app(&self, bytes: u64);
}

/// The application's end: the pump has it, and whoever reads the tunnel.
#[derive(Debug)]
struct Link<M> {
    app: AppStream,
    meter: M,
}

impl<M: Meter> Sink for Link<M> {
    fn give(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let n = self.app.try_give(pieces)?;
        self.meter.given_to_app(n as u64);
        Ok(n)
    }
}

/// What became of a pump.
#[derive(Debug)]
pub enum Pumped<M> {
    /// It has ended.
    Over {
        /// What counted.
        meter: M,
        /// How it ended.
        result: Result<(), StreamError>,
    },
    /// The stream failed before it was answered, and the application behind the peer has got
    /// nothing: another stream may carry the connection ([`Pump::carry_on`]).
    Unanswered(Broken),
}

/// Why a pump stopped.
enum Stop {
    Failed(StreamError),
    Unanswered(Broken),
}

impl From<StreamError> for Stop {
    fn from(error: StreamError) -> Self {
        Self::Failed(error)
    }
}

/// Both directions of one connection; completes when both have ended, or either has failed. On
/// failure, or cut off, the application's connection and the stream are both reset: nothing is left hanging, and
/// neither side takes what it got so far for the whole.
#[derive(Debug)]
pub struct Pump<M: Meter> {
    /// Until the pump is over.
    link: Option<Rc<Link<M>>>,
    stream: Handle,
    answered: bool,
    /// What was sent before the answer, until that comes.
    kept: Option<Box<Kept>>,
    up_done: bool,
    down_done: bool,
    turn: Turn,
    guard: StreamGuard,
}

impl<M: Meter> Pump<M> {
    /// A pump for a stream that was opened to the peer.
    #[must_use]
    pub fn call(app: AppStream, stream: OpenStream, meter: M) -> Self {
        let mut pump = Self::new(app, stream.stream, stream.guard, meter);
        pump.answered = false;
        pump.kept = Some(Box::default());
        pump
    }

    /// A pump for a stream of the peer's. The application gets nothing before the answer is with the kernel.
    #[must_use]
    pub fn serve(app: AppStream, stream: Accepted, meter: M) -> Self {
        Self::new(app, stream.stream, stream.guard, meter)
    }

    fn new(app: AppStream, mut stream: Handle, guard: StreamGuard, meter: M) -> Self {
        let link = Rc::new(Link { app, meter });
        // RFC 9113 8.5: a TCP connection error is a stream error of type CONNECT_ERROR.
        stream.falls_with(Reason::CONNECT_ERROR);
        stream.attach(Rc::clone(&link) as Rc<dyn Sink>);
        Self {
            link: Some(link),
            stream,
            answered: true,
            kept: None,
            up_done: false,
            down_done: false,
            turn: Turn::default(),
            guard,
        }
    }

    /// Whether the peer has answered: then the connection stays with its stream.
    #[must_use]
    pub const fn answered(&self) -> bool {
        self.answered
    }

    /// Takes the tunnel out of use: no new streams are opened on it.
    pub fn retire_tunnel(&self) {
        self.guard.state().retire();
    }

    /// Carries the connection by another stream, after [`Pumped::Unanswered`].
    pub fn carry_on(&mut self, stream: OpenStream) {
        if let (Some(link), Some(kept)) = (&self.link, &mut self.kept) {
            kept.begin_again();
            self.up_done = false;
            self.stream = stream.stream;
            self.stream.falls_with(Reason::CONNECT_ERROR);
            self.stream.attach(Rc::clone(link) as Rc<dyn Sink>);
            self.guard = stream.guard;
        }
    }

    /// Ends the connection after [`Pumped::Unanswered`]: the application's is reset. Nothing comes
    /// back the second time.
    pub fn give_up(&mut self) -> Option<M> {
        self.part().map(|link| link.meter)
    }

    /// Nobody else has the application's end any more.
    fn part(&mut self) -> Option<Link<M>> {
        self.stream.detach();
        Rc::into_inner(self.link.take()?)
    }

    /// Learns the peer's answer.
    fn hear_answer(&mut self) -> Result<(), StreamError> {
        if self.answered {
            return Ok(());
        }
        if let Some((status, promise)) = self.stream.take_answer() {
            if status != StatusCode::OK {
                return Err(StreamError::Status(status));
            }
            self.guard.state().learn(promise);
            self.answered = true;
        }
        Ok(())
    }

    /// Whether another stream may carry the connection: the rule of [`crate::kept`].
    fn may_be_sent_again(&self, broken: &Broken) -> bool {
        let Some(kept) = self.kept.as_ref().filter(|_| !self.answered) else {
            return false;
        };
        let state = self.guard.state();
        let promised = state.promise() == Promise::AnswersFirst && !state.was_silent();
        broken.is_unprocessed() || broken.is_death() && (promised || kept.nothing_sent())
    }

    /// What an earlier stream was given goes to this one first; whether it has all of it.
    fn catch_up(&mut self) -> bool {
        let Some(kept) = &mut self.kept else {
            return true;
        };
        if !self.answered && self.guard.state().promise() == Promise::Unknown {
            // The answer wakes this task.
            return false;
        }
        if !kept.send(&self.stream) {
            return false;
        }
        self.up_done |= kept.has_ended();
        if self.answered {
            self.kept = None;
        }
        true
    }

    /// From the application into the tunnel; pending with nothing `left` when there may be more to do.
    fn poll_up(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<Result<(), StreamError>> {
        if !self.catch_up() {
            return Poll::Pending;
        }
        let Some(link) = &self.link else {
            return Poll::Pending;
        };
        while *left > 0 {
            self.up_done |= self.stream.is_finished();
            if self.up_done {
                return Poll::Ready(Ok(()));
            }
            let most = self
                .kept
                .as_ref()
                .map_or(*left, |kept| kept.room().min(*left));
            if most == 0 {
                // The answer wakes this task.
                return Poll::Pending;
            }
            // First, because it is much cheaper: most wake-ups are for the other direction.
            ready!(link.app.poll_readable(cx)).map_err(StreamError::Application)?;
            let sent = match &mut self.kept {
                None => self.stream.send(most, |room| link.app.try_take(room)),
                Some(kept) => self
                    .stream
                    .send(most, |room| kept.take(room, |room| link.app.try_take(room))),
            };
            match sent {
                Ok(Sent::Bytes(n)) => {
                    *left -= n;
                    turn::moved(n);
                    link.meter.sent_by_app(n as u64);
                }
                Ok(Sent::End) => self.up_done = true,
                Ok(Sent::NoRoom) => return Poll::Pending,
                Err(error) if is_passing(&error) => {}
                Err(error) => return Poll::Ready(Err(StreamError::Application(error))),
            }
        }
        Poll::Pending
    }

    /// What waits for the application, and the end; pending with nothing `left` when there may be more to do.
    fn poll_down(
        &mut self,
        cx: &mut Context<'_>,
        left: &mut usize,
    ) -> Poll<Result<(), StreamError>> {
        let Some(link) = self.link.as_ref().filter(|_| self.answered) else {
            return Poll::Pending;
        };
        if self.down_done {
            return Poll::Ready(Ok(()));
        }
        let give = |pieces: &[IoSlice<'_>]| {
            let n = ready!(link.app.poll_give(cx, pieces))?;
            link.meter.given_to_app(n as u64);
            Poll::Ready(Ok(n))
        };
        ready!(self.stream.poll_down(left, give)).map_err(StreamError::Application)?;
        // If the application has ended, too, closing says the same.
        if !self.up_done {
            link.app.finish().map_err(StreamError::Application)?;
        }
        self.down_done = true;
        Poll::Ready(Ok(()))
    }

    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        // First, because why a stream failed before its answer is told to who waits for that.
        self.hear_answer()?;
        match self.stream.news(cx) {
            News::None => {}
            News::Broken(broken) if self.may_be_sent_again(&broken) => {
                return Poll::Ready(Err(Stop::Unanswered(broken)));
            }
            News::Broken(broken) => return Poll::Ready(Err(StreamError::Tunnel(broken).into())),
            News::Stuck(Stuck::Failed(error)) => {
                return Poll::Ready(Err(StreamError::Application(error).into()));
            }
            News::Stuck(Stuck::OverBudget) => return Poll::Ready(Err(StreamError::Budget.into())),
        }
        let share = self.turn.bytes();
        let (mut up_left, mut down_left) = (share, share);
        let up = self.poll_up(cx, &mut up_left);
        let down = self.poll_down(cx, &mut down_left);
        let wanting = up_left == 0 || down_left == 0;
        self.turn.over(wanting);
        if wanting {
            turn::later(cx);
        }
        match (up, down) {
            (_, Poll::Ready(Err(error))) | (Poll::Ready(Err(error)), _) => {
                Poll::Ready(Err(error.into()))
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }
}

/// Whether it only says that the application has nothing to read now.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

impl<M: Meter> Future for Pump<M> {
    type Output = Pumped<M>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pumped<M>> {
        let this = &mut *self;
        let polled = this.poll_both(cx);
        this.stream.pass_on();
        let result = match ready!(polled) {
            Ok(()) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::Unanswered(broken)) => return Poll::Ready(Pumped::Unanswered(broken)),
        };
        let Some(Link { app, meter }) = this.part() else {
            return Poll::Pending;
        };
        if result.is_ok() {
            app.end_well();
        }
        Poll::Ready(Pumped::Over { meter, result })
    }
}
