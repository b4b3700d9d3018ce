//! Moves bytes between an application's connection and a stream of a tunnel.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::app::AppStream;
use crate::budget::Held;
use crate::buffers;
use crate::client::OpenStream;
use crate::driver::StreamGuard;
use crate::error::StreamError;
use crate::gather::{keep, settle};
use crate::kept::{Kept, not_processed};
use crate::promise::Promise;
use crate::record::Answered;
use crate::server::Accepted;
use crate::turn::Turn;

/// Pieces sent to the application with one system call.
const PIECES: usize = 16;

/// Where the bytes from the tunnel come from.
#[derive(Debug)]
enum Down {
    /// CONNECT was sent; the peer has not answered yet.
    Answer(Box<Unanswered>),
    /// The stream is open.
    Open(RecvStream),
    /// The peer has finished, and the application was told.
    Finished,
}

/// Counts what passes, while it passes.
pub trait Meter: Unpin {
    /// Bytes the application (or the first connection of a relay) sent.
    fn sent_by_app(&self, bytes: u64);
    /// Bytes it was given.
    fn given_to_app(&self, bytes: u64);
}

/// A stream before the peer's answer.
#[derive(Debug)]
struct Unanswered {
    response: ResponseFuture,
    kept: Kept,
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
    Unanswered(h2::Error),
}

/// Both directions of one connection; completes when both have ended, or either has failed. On
/// failure the application's connection and the stream are both reset: nothing is left hanging.
#[derive(Debug)]
pub struct Pump<M> {
    app: AppStream,
    send: SendStream<Bytes>,
    down: Down,
    /// Set while our answer is on its way: until then the application gets nothing.
    answer: Option<Answered>,
    /// Received, not yet taken by the application. Bounded by the stream's window.
    waiting: VecDeque<Bytes>,
    small: BytesMut,
    held: Held,
    peer_done: bool,
    app_done: bool,
    turn: Turn,
    meter: Option<M>,
    guard: StreamGuard,
}

impl<M: Meter> Pump<M> {
    /// A pump for a stream that was opened to the peer.
    #[must_use]
    pub fn call(app: AppStream, stream: OpenStream, meter: M) -> Self {
        let kept = Kept::default();
        let response = stream.response;
        let down = Down::Answer(Box::new(Unanswered { response, kept }));
        Self::new(app, stream.send, down, stream.guard, meter)
    }

    /// A pump for a stream of the peer's.
    #[must_use]
    pub fn serve(app: AppStream, stream: Accepted, meter: M) -> Self {
        let down = Down::Open(stream.body);
        let mut pump = Self::new(app, stream.send, down, stream.guard, meter);
        pump.answer = Some(stream.answer);
        pump
    }

    fn new(
        app: AppStream,
        send: SendStream<Bytes>,
        down: Down,
        guard: StreamGuard,
        meter: M,
    ) -> Self {
        Self {
            app,
            send,
            down,
            answer: None,
            waiting: VecDeque::new(),
            small: BytesMut::new(),
            held: Held::default(),
            peer_done: false,
            app_done: false,
            turn: Turn::default(),
            meter: Some(meter),
            guard,
        }
    }

    /// Whether the peer has answered: then the connection stays with its stream.
    #[must_use]
    pub const fn answered(&self) -> bool {
        !matches!(self.down, Down::Answer(_))
    }

    /// Takes the tunnel out of use: no new streams are opened on it.
    pub fn retire_tunnel(&self) {
        self.guard.state().retire();
    }

    /// Carries the connection by another stream, after [`Pumped::Unanswered`].
    pub fn carry_on(&mut self, stream: OpenStream) {
        if let Down::Answer(unanswered) = &mut self.down {
            unanswered.kept.begin_again();
            unanswered.response = stream.response;
            self.send = stream.send;
            self.guard = stream.guard;
        }
    }

    /// Ends the connection after [`Pumped::Unanswered`]; the application's is reset when the pump
    /// is dropped. Nothing comes back the second time.
    pub fn give_up(&mut self) -> Option<M> {
        self.meter.take()
    }

    /// Learns the peer's answer.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let Down::Answer(unanswered) = &mut self.down else {
            return Poll::Ready(Ok(()));
        };
        let answer = ready!(Pin::new(&mut unanswered.response).poll(cx))?;
        if answer.status() != StatusCode::OK {
            return Poll::Ready(Err(StreamError::Status(answer.status())));
        }
        self.guard.state().learn(Promise::of(answer.headers()));
        unanswered.kept.send(&mut self.send)?;
        self.down = Down::Open(answer.into_body());
        Poll::Ready(Ok(()))
    }

    /// Whether another stream may carry the connection: the rule of [`crate::kept`].
    fn may_be_sent_again(&self, error: &h2::Error) -> bool {
        let Down::Answer(unanswered) = &self.down else {
            return false;
        };
        let state = self.guard.state();
        let promised = state.promise() == Promise::AnswersFirst && !state.was_silent();
        not_processed(error) || error.is_io() && (promised || unanswered.kept.nothing_sent())
    }

    /// How much may be read from the application now, bytes.
    fn appetite(&self) -> usize {
        match &self.down {
            Down::Answer(unanswered) => unanswered.kept.room(),
            Down::Open(_) | Down::Finished => buffers::BUFFER,
        }
    }

    /// From the application into the tunnel; pending with nothing `left` when there may be more to do.
    fn poll_up(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<Result<(), StreamError>> {
        if let Down::Answer(unanswered) = &mut self.down {
            if self.guard.state().promise() == Promise::Unknown {
                return Poll::Pending;
            }
            // What an earlier stream was given.
            unanswered.kept.send(&mut self.send)?;
        }
        while *left > 0 {
            if self.app_done {
                return Poll::Ready(Ok(()));
            }
            let most = self.appetite().min(*left);
            if most == 0 {
                // The answer wakes this task.
                return Poll::Pending;
            }
            // First, because it is much cheaper: most wake-ups are for the other direction.
            ready!(self.app.poll_readable(cx)).map_err(StreamError::Application)?;
            if !ready!(self.poll_window(cx))? {
                self.app_done = true;
                continue;
            }
            let Self { app, .. } = self;
            let data = ready!(buffers::scratch(|scratch| {
                let mut room = ReadBuf::new(&mut scratch[..most]);
                Pin::new(app)
                    .poll_read(cx, &mut room)
                    .map_ok(|()| Bytes::copy_from_slice(room.filled()))
            }))
            .map_err(StreamError::Application)?;
            *left -= data.len();
            self.take_up(data)?;
        }
        Poll::Pending
    }

    /// What the application sent, or its end if that is nothing.
    fn take_up(&mut self, data: Bytes) -> Result<(), StreamError> {
        self.app_done = data.is_empty();
        if let Some(meter) = &self.meter {
            meter.sent_by_app(data.len() as u64);
        }
        if let Down::Answer(unanswered) = &mut self.down {
            unanswered.kept.push(data);
            unanswered.kept.send(&mut self.send)?;
        } else {
            let end = data.is_empty();
            self.send.send_data(data, end)?;
        }
        Ok(())
    }

    /// Ready when the stream takes more: the peer's window is open and little waits here. `false`
    /// when the peer wants no more and has said so without an error.
    fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, StreamError>> {
        while self.send.capacity() == 0 {
            self.send.reserve_capacity(1);
            match ready!(self.send.poll_capacity(cx)) {
                Some(result) => drop(result?),
                None => {
                    return Poll::Ready(match ready!(self.send.poll_reset(cx))? {
                        Reason::NO_ERROR | Reason::CANCEL => Ok(false),
                        reason => Err(StreamError::Tunnel(reason.into())),
                    });
                }
            }
        }
        Poll::Ready(Ok(true))
    }

    /// From the tunnel to the application; pending with nothing `left` when there may be more to do.
    fn poll_down(
        &mut self,
        cx: &mut Context<'_>,
        left: &mut usize,
    ) -> Poll<Result<(), StreamError>> {
        if !self.answered() {
            return Poll::Pending;
        }
        while *left > 0 {
            if matches!(self.down, Down::Finished) {
                return Poll::Ready(Ok(()));
            }
            self.receive(cx)?;
            if self.waiting.is_empty() {
                if !self.peer_done {
                    return Poll::Pending;
                }
                // If the application has ended, too, closing says the same.
                if !self.app_done {
                    ready!(Pin::new(&mut self.app).poll_shutdown(cx))
                        .map_err(StreamError::Application)?;
                }
                self.down = Down::Finished;
                continue;
            }
            let n = ready!(self.poll_give(cx, *left)).map_err(StreamError::Application)?;
            *left -= n;
            self.given(n)?;
        }
        Poll::Pending
    }

    /// Ready once the kernel has our answer; an error if it never will. Until then nothing moves:
    /// what came is only taken off the tunnel's hands.
    fn poll_answer_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let Some(answer) = &self.answer else {
            return Poll::Ready(Ok(()));
        };
        if answer.poll(cx).is_pending() {
            self.receive(cx)?;
            // A stream that is reset meanwhile is not answered any more.
            let reason = ready!(self.send.poll_reset(cx))?;
            return Poll::Ready(Err(StreamError::Tunnel(reason.into())));
        }
        self.answer = None;
        Poll::Ready(Ok(()))
    }

    /// Takes what the tunnel has for this stream. It is taken even while the application does not
    /// read: the tunnel's own queue must not fill with one stream's frames.
    fn receive(&mut self, cx: &mut Context<'_>) -> Result<(), StreamError> {
        let Down::Open(body) = &mut self.down else {
            return Ok(());
        };
        while !self.peer_done {
            match body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    if !self.held.add(data.len()) {
                        return Err(StreamError::Budget);
                    }
                    keep(&mut self.small, &mut self.waiting, data);
                }
                Poll::Ready(Some(Err(error))) => {
                    // RFC 9113 8.5 has FIN as END_STREAM; peers also end a stream by these two.
                    let clean = matches!(error.reason(), Some(Reason::NO_ERROR | Reason::CANCEL));
                    if !(clean && error.is_remote() && error.is_reset()) {
                        return Err(error.into());
                    }
                    self.peer_done = true;
                }
                Poll::Ready(None) => self.peer_done = true,
                Poll::Pending => break,
            }
        }
        settle(&mut self.small, &mut self.waiting);
        Ok(())
    }

    /// Gives the application some of what waits, `most` bytes.
    fn poll_give(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let app = Pin::new(&mut self.app);
        if let [only] = self.waiting.make_contiguous() {
            return app.poll_write(cx, &only[..only.len().min(most)]);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let (mut count, mut left) = (0, most);
        for (piece, data) in pieces.iter_mut().zip(&self.waiting) {
            if left == 0 {
                break;
            }
            let part = data.len().min(left);
            *piece = IoSlice::new(&data[..part]);
            left -= part;
            count += 1;
        }
        app.poll_write_vectored(cx, &pieces[..count])
    }

    /// The application took `n` bytes: the peer may send as many more.
    fn given(&mut self, n: usize) -> Result<(), StreamError> {
        let mut left = n;
        while left > 0 {
            let Some(first) = self.waiting.front_mut() else {
                break;
            };
            if first.len() > left {
                drop(first.split_to(left));
                left = 0;
            } else {
                left -= first.len();
                self.waiting.pop_front();
            }
        }
        if self.waiting.is_empty() && self.waiting.capacity() > PIECES {
            self.waiting = VecDeque::new();
        }
        self.held.give(n);
        if let Some(meter) = &self.meter {
            meter.given_to_app(n as u64);
        }
        if let Down::Open(body) = &mut self.down
            && n > 0
        {
            body.flow_control().release_capacity(n)?;
        }
        Ok(())
    }

    /// The pump's end; it must not be polled again.
    fn pumped(&mut self, result: Result<(), StreamError>) -> Poll<Pumped<M>> {
        if result.is_err() {
            // RFC 9113 8.5: a TCP connection error is a stream error of type CONNECT_ERROR.
            self.send.send_reset(Reason::CONNECT_ERROR);
        } else {
            self.app.end_well();
        }
        match self.meter.take() {
            Some(meter) => Poll::Ready(Pumped::Over { meter, result }),
            None => Poll::Pending,
        }
    }
}

/// A pump that is cut off (its pod is gone, the process ends) must not look like one whose streams
/// have ended: both sides would take what they got so far for the whole.
impl<M> Drop for Pump<M> {
    fn drop(&mut self) {
        if self.meter.is_some() && !std::thread::panicking() {
            self.send.send_reset(Reason::CONNECT_ERROR);
        }
    }
}

impl<M: Meter> Future for Pump<M> {
    type Output = Pumped<M>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pumped<M>> {
        let this = &mut *self;
        // First, because why a stream failed before its answer is told to who waits for that.
        match this.poll_answer(cx) {
            Poll::Ready(Err(StreamError::Tunnel(error))) if this.may_be_sent_again(&error) => {
                return Poll::Ready(Pumped::Unanswered(error));
            }
            Poll::Ready(Err(error)) => return this.pumped(Err(error)),
            _ => {}
        }
        if let Err(error) = ready!(this.poll_answer_sent(cx)) {
            return this.pumped(Err(error));
        }
        let share = this.turn.bytes();
        let (mut up_left, mut down_left) = (share, share);
        let up = this.poll_up(cx, &mut up_left);
        let down = this.poll_down(cx, &mut down_left);
        let wanting = up_left == 0 || down_left == 0;
        this.turn.over(wanting);
        if wanting {
            cx.waker().wake_by_ref();
        }
        match (up, down) {
            (_, Poll::Ready(Err(error))) | (Poll::Ready(Err(error)), _) => this.pumped(Err(error)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => this.pumped(Ok(())),
            (Poll::Pending, Poll::Ready(Ok(()))) => {
                // Nobody reads the stream any more, so a reset would go unseen without this.
                match this.send.poll_reset(cx) {
                    Poll::Ready(Ok(Reason::NO_ERROR | Reason::CANCEL)) => this.pumped(Ok(())),
                    Poll::Ready(Ok(reason)) => this.pumped(Err(StreamError::Tunnel(reason.into()))),
                    Poll::Ready(Err(error)) => this.pumped(Err(error.into())),
                    Poll::Pending => Poll::Pending,
                }
            }
            _ => Poll::Pending,
        }
    }
}
