//! What has been received and not yet been used.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use crate::buffers;

use super::{FULL, HEADER};

/// A buffer while there are bytes in it: `buffer[start..end]`.
#[derive(Default)]
pub(super) struct Incoming {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    total: u64,
}

impl Incoming {
    /// Bytes received over the connection's life.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// The whole buffer: pieces are places in it.
    pub(super) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// What waits.
    pub(super) fn waiting(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// The first bytes of it, and their place in the buffer.
    pub(super) fn front(&mut self, length: usize) -> (usize, &mut [u8]) {
        let end = self.end.min(self.start + length);
        let front = self.buffer.get_mut(self.start..end).unwrap_or_default();
        (self.start, front)
    }

    /// The header of a record that begins so many bytes behind the start, if it is there.
    pub(super) fn header(&self, skip: usize) -> Option<[u8; HEADER]> {
        self.waiting().get(skip..)?.first_chunk().copied()
    }

    /// Bytes at the front have been used.
    pub(super) fn consume(&mut self, length: usize) {
        self.start = self.end.min(self.start + length);
    }

    /// Nothing of it is wanted any more.
    pub(super) fn clear(&mut self) {
        self.start = self.end;
        self.settle();
    }

    /// Gives an empty buffer back; else moves what waits to the front, which is less than a record
    /// when everything that could be opened has been. No piece may be in use.
    pub(super) fn settle(&mut self) {
        if self.start == self.end {
            buffers::give(std::mem::take(&mut self.buffer));
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
        }
        self.end -= self.start;
        self.start = 0;
    }

    /// Receives once, at most so much or a record, and as there is room for; 0 means that there will be no more.
    pub(super) fn poll_fill<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        self.settle();
        if self.buffer.is_empty() {
            self.buffer = buffers::take();
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        if room.is_empty() {
            let text = "more was received than can be used";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        // A record must fit: in smaller pieces it would cost a call for each.
        let length = room.len().min(most.max(FULL));
        let mut room = ReadBuf::new(room.split_at_mut(length).0);
        let polled = Pin::new(stream).poll_read(cx, &mut room);
        let n = room.filled().len();
        self.end += n;
        self.total += n as u64;
        if n == 0 {
            self.settle();
        }
        polled.map_ok(|()| n)
    }
}
