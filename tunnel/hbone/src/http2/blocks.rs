//! Header blocks that arrive (RFC 9113 6.2 and 6.10): requests and answers.

use super::core::{Core, Role};
use super::fault::Fault;
use super::fields::{Request, Response};
use super::frame::{self, Head, Reason, flag};
use super::stream::{Gate, Stream};
use crate::hpack::Size;

/// A header block in pieces, bytes; ours take a few hundred.
const BLOCK_MAX: usize = 64 * 1024;
/// What an empty piece counts: a peer must not send them for ever.
const PIECE: usize = 128;

/// A header block whose end has not come.
#[derive(Debug)]
pub(super) struct Block {
    stream: u32,
    end_stream: bool,
    bytes: Vec<u8>,
    counted: usize,
}

impl Core {
    pub(super) fn headers(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let short = || Fault::protocol("HEADERS with more padding or priority than payload");
        let mut fragment = payload;
        if head.has(flag::PADDED) {
            let (padding, rest) = fragment.split_first().ok_or_else(short)?;
            let end = rest.len().checked_sub(usize::from(*padding));
            fragment = end.and_then(|end| rest.get(..end)).ok_or_else(short)?;
        }
        if head.has(flag::PRIORITY) {
            fragment = fragment.get(5..).ok_or_else(short)?;
        }
        let end_stream = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.block(head.stream, end_stream, fragment);
        }
        self.block = Some(Block {
            stream: head.stream,
            end_stream,
            bytes: fragment.to_vec(),
            counted: fragment.len(),
        });
        Ok(())
    }

    pub(super) fn continuation(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        let Some(mut block) = self.block.take() else {
            return Err(Fault::protocol("CONTINUATION of nothing"));
        };
        if block.stream != head.stream {
            return Err(Fault::protocol("a header block is interrupted"));
        }
        block.counted += payload.len() + PIECE;
        if block.counted > BLOCK_MAX {
            return Err(Fault::excessive("a header block without an end"));
        }
        block.bytes.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            return self.block(block.stream, block.end_stream, &block.bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A whole header block. It is always read: the tables of both ends must stay in step.
    fn block(&mut self, id: u32, end_stream: bool, block: &[u8]) -> Result<(), Fault> {
        let known = self
            .streams
            .get(&id)
            .map(|stream| (stream.answered, stream.remote_done, stream.broken.is_some()));
        match (self.role, known) {
            // It may have been on its way when the stream broke.
            (_, Some((true, _, true))) => self.read(block, |_, _| {}).map(drop),
            (_, Some((true, ended, false))) => {
                self.read(block, |_, _| {})?;
                match (ended, end_stream) {
                    (false, true) => self.remote_done(id),
                    (true, _) => self.refuse(id, Reason::STREAM_CLOSED),
                    (false, false) => self.refuse(id, Reason::PROTOCOL_ERROR),
                }
            }
            (Role::Client, Some((false, ..))) => self.answer(id, end_stream, block),
            (Role::Client, None) if self.is_idle(id) => {
                Err(Fault::protocol("HEADERS on a stream that was never opened"))
            }
            (Role::Client, None) => self.read(block, |_, _| {}).map(drop),
            (Role::Server, _) if id.is_multiple_of(2) => {
                Err(Fault::protocol("a client's stream has an even number"))
            }
            (Role::Server, _) if id <= self.last => {
                // It may have been on its way when we ended the stream.
                self.read(block, |_, _| {})?;
                self.refuse(id, Reason::STREAM_CLOSED)
            }
            (Role::Server, _) => self.request(id, end_stream, block),
        }
    }

    fn read(&mut self, block: &[u8], field: impl FnMut(&[u8], &[u8])) -> Result<Size, Fault> {
        self.decoder
            .decode(block, self.bounds.header_list, field)
            .map_err(|_| Fault::new(Reason::COMPRESSION_ERROR, "a header block breaks RFC 7541"))
    }

    fn request(&mut self, id: u32, end_stream: bool, block: &[u8]) -> Result<(), Fault> {
        let mut request = Request::default();
        let size = self.read(block, |name, value| request.field(name, value))?;
        if self.is_too_late(id) {
            return Ok(());
        }
        self.last = id;
        if size == Size::TooLarge {
            self.put_status(id, http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
            return self.refuse(id, Reason::NO_ERROR);
        }
        let Some(asked) = request.asked() else {
            return self.refuse(id, Reason::PROTOCOL_ERROR);
        };
        if self.is_full() {
            // No mistake: our settings may not have been heard yet.
            self.gather.put(&frame::reset(id, Reason::REFUSED_STREAM));
            return Ok(());
        }
        let mut stream = Stream::new(self.theirs.window, self.bounds.stream_window, false);
        stream.remote_done = end_stream;
        self.streams.insert(id, stream);
        self.asked.push_back((id, asked));
        Ok(())
    }

    /// Whether the peer has as many streams as it may.
    fn is_full(&self) -> bool {
        let most = self.bounds.max_streams;
        let counts = |stream: &&Stream| stream.counts();
        self.streams.len() >= most && self.streams.values().filter(counts).count() >= most
    }

    fn answer(&mut self, id: u32, end_stream: bool, block: &[u8]) -> Result<(), Fault> {
        let mut response = Response::default();
        let size = self.read(block, |name, value| response.field(name, value))?;
        let (Size::Fits, Some((status, promise))) = (size, response.answer()) else {
            return self.refuse(id, Reason::PROTOCOL_ERROR);
        };
        if status.is_informational() {
            // The answer is still to come (RFC 9113 8.1).
            return if end_stream {
                self.refuse(id, Reason::PROTOCOL_ERROR)
            } else {
                Ok(())
            };
        }
        if status == http::StatusCode::OK {
            self.promise = promise;
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.answer = Some((status, promise));
            stream.answered = true;
            if status != http::StatusCode::OK {
                // What follows explains the refusal; it is not what the application asked for.
                stream.gate = Gate::Shut;
            }
            stream.remote_done |= end_stream;
            stream.wake();
        }
        Ok(())
    }
}
