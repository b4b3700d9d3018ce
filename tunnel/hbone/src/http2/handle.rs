//! One stream, in the hand of who uses it.

use std::io::{self, IoSlice, IoSliceMut};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::{HeaderValue, StatusCode};

use super::core::Shared;
use super::fault::Broken;
use super::frame::Reason;
use super::send::Sent;
use super::stream::{Gate, Sink, Stream, Stuck};
use crate::promise::Promise;

/// A stream of a connection. Dropped before both sides have ended it, it is reset.
pub(crate) struct Handle {
    core: Shared,
    id: u32,
    /// What the peer is told when this is dropped.
    reason: Reason,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a stream has for its pump.
#[derive(Debug)]
pub(crate) enum News {
    /// Nothing that ends it.
    None,
    /// It ended before its time.
    Broken(Broken),
    /// Nothing more can be given to the application.
    Stuck(Stuck),
}

impl Handle {
    pub(crate) fn new(core: &Shared, id: u32, reason: Reason) -> Self {
        let core = Rc::clone(core);
        Self { core, id, reason }
    }

    /// From now on this is what the peer is told of a stream that is dropped.
    pub(crate) fn falls_with(&mut self, reason: Reason) {
        self.reason = reason;
    }

    fn stream<T>(&self, look: impl FnOnce(&mut Stream) -> T) -> Option<T> {
        self.core.borrow_mut().streams.get_mut(&self.id).map(look)
    }

    /// What has happened; `cx` is woken when more does.
    pub(crate) fn news(&self, cx: &Context<'_>) -> News {
        self.stream(|stream| {
            if !stream
                .waker
                .as_ref()
                .is_some_and(|w| w.will_wake(cx.waker()))
            {
                stream.waker = Some(cx.waker().clone());
            }
            if let Some(broken) = &stream.broken {
                return News::Broken(broken.clone());
            }
            stream.stuck.take().map_or(News::None, News::Stuck)
        })
        .unwrap_or(News::None)
    }

    /// The peer's answer, once.
    pub(crate) fn take_answer(&self) -> Option<(StatusCode, Promise)> {
        self.stream(|stream| stream.answer.take())?
    }

    /// Whether we, or the peer for us, have said that no more is sent.
    pub(crate) fn is_finished(&self) -> bool {
        self.stream(|stream| stream.local_done).unwrap_or(true)
    }

    #[cfg(test)]
    pub(crate) fn peer_has_ended(&self) -> bool {
        self.stream(|stream| stream.remote_done).unwrap_or(true)
    }

    /// What arrives goes to nobody any more.
    pub(crate) fn detach(&self) {
        self.stream(|stream| stream.sink = None);
    }

    /// What arrives goes to `sink`.
    pub(crate) fn attach(&self, sink: Rc<dyn Sink>) {
        self.core.borrow_mut().attach(self.id, sink);
    }

    /// See [`Core::send`](super::core::Core::send).
    pub(crate) fn send(
        &self,
        most: usize,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> io::Result<Sent> {
        self.core.borrow_mut().send(self.id, most, read)
    }

    pub(crate) fn send_kept(&self, data: &[u8]) -> usize {
        self.core.borrow_mut().send_kept(self.id, data)
    }

    pub(crate) fn finish(&self) {
        self.core.borrow_mut().finish(self.id);
    }

    pub(crate) fn pass_on(&self) {
        self.core.borrow_mut().pass_on(self.id);
    }

    /// Gives the application what waits for it, by `give`. Ready when the peer has ended and nothing waits; pending with
    /// nothing `left` when there may be more to do.
    pub(crate) fn poll_down(
        &self,
        left: &mut usize,
        mut give: impl FnMut(&[IoSlice<'_>]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        let mut core = self.core.borrow_mut();
        while *left > 0 {
            let Some(stream) = core.streams.get_mut(&self.id) else {
                return Poll::Ready(Ok(()));
            };
            if stream.gate == Gate::Shut {
                return Poll::Pending;
            }
            if stream.waiting.is_empty() {
                return if stream.remote_done {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            }
            let mut pending = false;
            let given = stream.drain(|pieces| match give(pieces) {
                // It would be asked for ever.
                Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(given) => given,
                Poll::Pending => {
                    pending = true;
                    Ok(0)
                }
            })?;
            if pending {
                return Poll::Pending;
            }
            *left = left.saturating_sub(given);
            core.owe_stream(self.id, given);
        }
        Poll::Pending
    }

    /// Answers 200.
    pub(crate) fn accept(&self, baggage: Option<&HeaderValue>) -> Result<(), Broken> {
        let mut core = self.core.borrow_mut();
        match core
            .streams
            .get(&self.id)
            .map(|stream| stream.broken.clone())
        {
            Some(None) => {
                core.accept(self.id, baggage);
                Ok(())
            }
            Some(Some(broken)) => Err(broken),
            None => Err(Broken::Ended(Reason::STREAM_CLOSED)),
        }
    }

    /// Answers with another status, which ends the stream.
    pub(crate) fn refuse(mut self, status: StatusCode) {
        let mut core = self.core.borrow_mut();
        let id = self.id;
        if let Some(stream) = core.streams.get_mut(&id)
            && stream.broken.is_none()
        {
            // The peer may still send, and is told that nobody listens (RFC 9113 8.1).
            stream.local_done = true;
            core.put_status(id, status);
        }
        drop(core);
        self.reason = Reason::NO_ERROR;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let left = self.core.borrow_mut().cut(self.id, self.reason);
        drop(left);
    }
}
