//! What we say on a connection.

use std::io::{self, IoSliceMut};

use http::{HeaderValue, StatusCode};

use super::core::Core;
use super::frame::{self, Head, Reason, flag, kind};
use super::stream::Stream;
use crate::connect::ConnectHead;
use crate::promise::{ANSWER_FIRST, YES};

/// What became of an attempt to send.
#[derive(Debug)]
pub(crate) enum Sent {
    /// So many bytes were taken from the application.
    Bytes(usize),
    /// The application has ended, and the peer will hear it.
    End,
    /// There is no room; the stream's waker is called when there is.
    NoRoom,
}

impl Core {
    /// Opens a stream with a CONNECT; its number. None when there are no more.
    pub(crate) fn connect(&mut self, head: &ConnectHead<'_>) -> Option<u32> {
        if !self.opens() {
            return None;
        }
        let id = self.next;
        self.next += 2;
        let mut block = std::mem::take(&mut self.scratch);
        let mut text = std::mem::take(&mut self.text);
        let encoder = &mut self.encoder;
        encoder.begin(&mut block);
        encoder.repeated(b":method", b"CONNECT", &mut block);
        let authority = head.write_authority(&mut text);
        encoder.repeated(b":authority", authority, &mut block);
        if let Some(baggage) = head.baggage {
            encoder.repeated(b"baggage", baggage.as_bytes(), &mut block);
        }
        let forwarded = head.write_forwarded(&mut text);
        encoder.changing(b"forwarded", forwarded, &mut block);
        let traceparent = head.write_traceparent(&mut text);
        encoder.changing(b"traceparent", traceparent, &mut block);
        self.text = text;
        self.put_block(id, 0, block);
        let stream = Stream::new(self.theirs.window, self.bounds.stream_window, true);
        self.streams.insert(id, stream);
        self.wake_driver();
        Some(id)
    }

    /// Answers a stream of the peer with 200, and the promise that this is out before the application gets a byte.
    pub(crate) fn accept(&mut self, id: u32, baggage: Option<&HeaderValue>) {
        let mut block = std::mem::take(&mut self.scratch);
        let encoder = &mut self.encoder;
        encoder.begin(&mut block);
        encoder.repeated(b":status", b"200", &mut block);
        if let Some(baggage) = baggage {
            encoder.repeated(b"baggage", baggage.as_bytes(), &mut block);
        }
        encoder.repeated(ANSWER_FIRST.as_bytes(), YES.as_bytes(), &mut block);
        self.put_block(id, 0, block);
        self.answers.push_back((self.gather.put_total(), id));
        self.wake_driver();
    }

    /// Answers with another status, and ends the stream.
    pub(crate) fn put_status(&mut self, id: u32, status: StatusCode) {
        let mut block = std::mem::take(&mut self.scratch);
        self.encoder.begin(&mut block);
        self.encoder
            .repeated(b":status", status.as_str().as_bytes(), &mut block);
        self.put_block(id, flag::END_STREAM, block);
        self.wake_driver();
    }

    fn put_block(&mut self, id: u32, flags: u8, mut block: Vec<u8>) {
        let mut kind = kind::HEADERS;
        let mut flags = flags;
        let mut rest = &block[..];
        // One frame but for a name that is absurdly long.
        loop {
            let (now, later) = rest.split_at(rest.len().min(self.theirs.frame));
            let last = if later.is_empty() {
                flag::END_HEADERS
            } else {
                0
            };
            let head = Head::new(now.len(), kind, flags | last, id);
            self.gather.put(&head.write());
            self.gather.put(now);
            if later.is_empty() {
                break;
            }
            (kind, flags, rest) = (kind::CONTINUATION, 0, later);
        }
        block.clear();
        self.scratch = block;
    }

    /// Sends at most `most` bytes of what `read` reads; nothing read is the application's end.
    pub(crate) fn send(
        &mut self,
        id: u32,
        most: usize,
        read: impl FnOnce(&mut [IoSliceMut<'_>]) -> io::Result<usize>,
    ) -> io::Result<Sent> {
        let Some(stream) = self.streams.get(&id) else {
            return Ok(Sent::End);
        };
        let room = self.room(stream).min(most);
        if room == 0 {
            self.wait_for_room(id);
            return Ok(Sent::NoRoom);
        }
        let head = |n| Head::new(n, kind::DATA, 0, id).write();
        let n = self.gather.put_read(room, head, read)?;
        if n == 0 {
            self.finish(id);
            return Ok(Sent::End);
        }
        self.sent(id, n);
        Ok(Sent::Bytes(n))
    }

    /// Sends as much of `data` as there is room for; all of it is gone when nobody listens any more.
    pub(crate) fn send_kept(&mut self, id: u32, data: &[u8]) -> usize {
        let Some(stream) = self.streams.get(&id).filter(|stream| !stream.local_done) else {
            return data.len();
        };
        let n = self.room(stream).min(data.len());
        if n == 0 {
            self.wait_for_room(id);
            return 0;
        }
        self.gather.put(&Head::new(n, kind::DATA, 0, id).write());
        self.gather.put(&data[..n]);
        self.sent(id, n);
        n
    }

    /// We send no more on this stream.
    pub(crate) fn finish(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.local_done
        {
            stream.local_done = true;
            let end = Head::new(0, kind::DATA, flag::END_STREAM, id);
            self.gather.put(&end.write());
            self.wake_driver();
        }
    }

    /// Ends a stream before its time, and forgets it. What is left of it is to be dropped when nobody is at work here:
    /// an application's connection may go with it, and who counts.
    pub(crate) fn cut(&mut self, id: u32, reason: Reason) -> Option<Stream> {
        if self.streams.get(&id)?.counts() {
            self.gather.put(&frame::reset(id, reason));
        }
        self.forget(id)
    }
}
