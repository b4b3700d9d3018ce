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
use tokio::net::TcpStream;

use crate::budget::Held;
use crate::buffers;
use crate::driver::StreamGuard;
use crate::error::StreamError;

/// Pieces one turn of the event loop moves for one connection before others get theirs.
const TURN: usize = 4;
/// Pieces sent to the application with one system call.
const PIECES: usize = 16;
/// Chunks below this size are copied together: a peer must not make us keep a record of each of a
/// million one-byte frames.
const SMALL: usize = 4096;

/// Where the bytes from the tunnel come from.
#[derive(Debug)]
pub enum Down {
    /// CONNECT was sent; the peer has not answered yet.
    Answer(ResponseFuture),
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

/// How a pump ended.
#[derive(Debug)]
pub struct Pumped<M> {
    /// What counted.
    pub meter: M,
    /// How it ended.
    pub result: Result<(), StreamError>,
}

/// Both directions of one connection; completes when both have ended, or either has failed. On
/// failure the application's connection and the stream are both reset: nothing is left hanging.
#[derive(Debug)]
pub struct Pump<M> {
    app: TcpStream,
    send: SendStream<Bytes>,
    down: Down,
    /// Received, not yet taken by the application. Bounded by the stream's window.
    waiting: VecDeque<Bytes>,
    small: BytesMut,
    held: Held,
    peer_done: bool,
    app_done: bool,
    meter: Option<M>,
    _guard: StreamGuard,
}

impl<M: Meter> Pump<M> {
    /// A pump for an accepted or opened stream.
    #[must_use]
    pub fn new(
        app: TcpStream,
        send: SendStream<Bytes>,
        down: Down,
        guard: StreamGuard,
        meter: M,
    ) -> Self {
        Self {
            app,
            send,
            down,
            waiting: VecDeque::new(),
            small: BytesMut::new(),
            held: Held::default(),
            peer_done: false,
            app_done: false,
            meter: Some(meter),
            _guard: guard,
        }
    }

    /// From the application into the tunnel.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        for _ in 0..TURN {
            if self.app_done {
                return Poll::Ready(Ok(()));
            }
            if !ready!(self.poll_window(cx))? {
                self.app_done = true;
                continue;
            }
            let Self { app, .. } = self;
            let data = ready!(buffers::scratch(|scratch| {
                let mut room = ReadBuf::new(scratch);
                Pin::new(app)
                    .poll_read(cx, &mut room)
                    .map_ok(|()| Bytes::copy_from_slice(room.filled()))
            }))
            .map_err(StreamError::Application)?;
            self.app_done = data.is_empty();
            if let Some(meter) = &self.meter {
                meter.sent_by_app(data.len() as u64);
            }
            let end = data.is_empty();
            self.send.send_data(data, end)?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
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

    /// From the tunnel to the application.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        if let Down::Answer(answer) = &mut self.down {
            let answer = ready!(Pin::new(answer).poll(cx))?;
            if answer.status() != StatusCode::OK {
                return Poll::Ready(Err(StreamError::Status(answer.status())));
            }
            self.down = Down::Open(answer.into_body());
        }
        for _ in 0..TURN {
            if matches!(self.down, Down::Finished) {
                return Poll::Ready(Ok(()));
            }
            self.receive(cx)?;
            if self.waiting.is_empty() {
                if !self.peer_done {
                    return Poll::Pending;
                }
                ready!(Pin::new(&mut self.app).poll_shutdown(cx))
                    .map_err(StreamError::Application)?;
                self.down = Down::Finished;
                continue;
            }
            let n = ready!(self.poll_give(cx)).map_err(StreamError::Application)?;
            self.given(n)?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
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

    fn poll_give(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let app = Pin::new(&mut self.app);
        if let [only] = self.waiting.make_contiguous() {
            return app.poll_write(cx, only);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let mut count = 0;
        for (piece, data) in pieces.iter_mut().zip(&self.waiting) {
            *piece = IoSlice::new(data);
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
            abort(&self.app);
        }
        match self.meter.take() {
            Some(meter) => Poll::Ready(Pumped { meter, result }),
            None => Poll::Pending,
        }
    }
}

/// Puts what arrived behind what waits already.
pub(crate) fn keep(small: &mut BytesMut, waiting: &mut VecDeque<Bytes>, data: Bytes) {
    let whole = data.len() >= SMALL;
    if !whole {
        small.extend_from_slice(&data);
    }
    if (whole || small.len() >= SMALL) && !small.is_empty() {
        waiting.push_back(std::mem::take(small).freeze());
    }
    if whole {
        waiting.push_back(data);
    }
}

/// Hands out small pieces when nothing else waits. While something does, they go on gathering from
/// one turn to the next: a peer may send its million frames one a turn.
pub(crate) fn settle(small: &mut BytesMut, waiting: &mut VecDeque<Bytes>) {
    if waiting.is_empty() && !small.is_empty() {
        waiting.push_back(std::mem::take(small).freeze());
    }
}

/// Makes dropping the connection send RST instead of FIN: its owner sees that it did not end well.
pub fn abort(app: &TcpStream) {
    // Fails only on a socket that is dead already.
    drop(app.set_zero_linger());
}

/// A pump that is cut off (its pod is gone, the process ends) must not look like one whose streams
/// have ended: both sides would take what they got so far for the whole.
impl<M> Drop for Pump<M> {
    fn drop(&mut self) {
        if self.meter.is_some() && !std::thread::panicking() {
            self.send.send_reset(Reason::CONNECT_ERROR);
            abort(&self.app);
        }
    }
}

impl<M: Meter> Future for Pump<M> {
    type Output = Pumped<M>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Pumped<M>> {
        let this = &mut *self;
        let up = this.poll_up(cx);
        let down = this.poll_down(cx);
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
