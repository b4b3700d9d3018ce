//! Moves bytes between two plain connections, for traffic that does not enter a tunnel.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::app::AppStream;
use crate::buffers;
use crate::pump::Meter;
use crate::turn;

/// Pieces one turn of the event loop moves for one direction before others get theirs.
const TURN: usize = 4;

/// Both directions between two connections, with half-close carried both ways. On failure, or cut
/// off, both are reset: they are armed until both directions have ended.
#[derive(Debug)]
pub struct Relay<M> {
    first: AppStream,
    second: AppStream,
    forth: Direction,
    back: Direction,
    meter: Option<M>,
}

#[derive(Debug, Default)]
struct Direction {
    /// Read and not yet written; empty while nothing is stuck.
    stuck: Vec<u8>,
    written: usize,
    ended: bool,
    closed: bool,
}

impl<M: Meter> Relay<M> {
    /// A relay between two open connections.
    #[must_use]
    pub fn new(first: AppStream, second: AppStream, meter: M) -> Self {
        let (forth, back) = (Direction::default(), Direction::default());
        Self {
            first,
            second,
            forth,
            back,
            meter: Some(meter),
        }
    }
}

impl Direction {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut AppStream,
        to: &mut AppStream,
        count: impl Fn(u64),
    ) -> Poll<io::Result<()>> {
        for _ in 0..TURN {
            if turn::left() == 0 {
                break;
            }
            while self.written < self.stuck.len() {
                self.written +=
                    ready!(Pin::new(&mut *to).poll_write(cx, &self.stuck[self.written..]))?;
            }
            if self.written > 0 {
                self.stuck = Vec::new();
                self.written = 0;
            }
            if self.ended {
                if !self.closed {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.closed = true;
                }
                return Poll::Ready(Ok(()));
            }
            ready!(buffers::scratch(
                |scratch| self.poll_piece(cx, from, to, scratch, &count)
            ))?;
        }
        turn::later(cx);
        Poll::Pending
    }

    /// Reads one piece and writes what the other side takes of it; the rest is kept.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut AppStream,
        to: &mut AppStream,
        scratch: &mut [u8],
        count: &impl Fn(u64),
    ) -> Poll<io::Result<()>> {
        let mut room = ReadBuf::new(scratch);
        ready!(Pin::new(from).poll_read(cx, &mut room))?;
        let data = room.filled();
        if data.is_empty() {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        count(data.len() as u64);
        turn::moved(data.len());
        let n = match Pin::new(to).poll_write(cx, data) {
            Poll::Ready(n) => n?,
            Poll::Pending => 0,
        };
        self.stuck.extend_from_slice(&data[n..]);
        Poll::Ready(Ok(()))
    }
}

impl<M: Meter> Future for Relay<M> {
    type Output = (M, io::Result<()>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self {
            first,
            second,
            forth,
            back,
            meter,
        } = &mut *self;
        let Some(counted) = meter.as_ref() else {
            return Poll::Pending;
        };
        let forth = forth.poll(cx, first, second, |n| counted.sent_by_app(n));
        let back = back.poll(cx, second, first, |n| counted.given_to_app(n));
        let result = match (forth, back) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Err(error),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                first.end_well();
                second.end_well();
                Ok(())
            }
            _ => return Poll::Pending,
        };
        match meter.take() {
            Some(meter) => Poll::Ready((meter, result)),
            None => Poll::Pending,
        }
    }
}
