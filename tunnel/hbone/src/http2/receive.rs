//! What arrives on a connection, and data above all (RFC 9113 6.1).

use std::io::IoSlice;
use std::ops::Range;

use super::core::{Core, Role};
use super::fault::Fault;
use super::frame::{Reason, WINDOW_MAX};
use super::parse::Found;

/// Pieces of one stream's data given to the application with one system call.
const PIECES: usize = 32;

/// Data of one stream in a row: pieces of what arrived.
#[derive(Debug)]
struct Run {
    stream: u32,
    pieces: [Range<usize>; PIECES],
    count: usize,
}

impl Core {
    /// Takes what has arrived: pieces of one buffer.
    pub(crate) fn receive(&mut self, input: &[u8], pieces: &[Range<usize>]) -> Result<(), Fault> {
        let mut run = Run {
            stream: 0,
            pieces: [const { 0..0 }; PIECES],
            count: 0,
        };
        for piece in pieces {
            let mut at = piece.start;
            while let Some(found) = self.parser.next(input, &mut at, piece.end)? {
                self.found(found, input, &mut run)?;
            }
        }
        self.give(input, &mut run);
        Ok(())
    }

    fn found(&mut self, found: Found<'_>, input: &[u8], run: &mut Run) -> Result<(), Fault> {
        match found {
            Found::Data { stream, at } => {
                if stream != run.stream || run.count == PIECES {
                    self.give(input, run);
                    run.stream = stream;
                }
                if let Some(place) = run.pieces.get_mut(run.count) {
                    *place = at;
                    run.count += 1;
                }
            }
            Found::Begins { stream, length } => self.data_begins(stream, length)?,
            Found::Padding { stream, length } => self.owe_stream(stream, length),
            Found::Ends {
                stream,
                end_stream: true,
            } => {
                self.give(input, run);
                self.remote_done(stream)?;
            }
            Found::Ends { .. } => {}
            Found::Whole(head, payload) => {
                self.give(input, run);
                self.whole(head, &payload)?;
            }
        }
        Ok(())
    }

    /// Gives a stream the data that was found for it.
    fn give(&mut self, input: &[u8], run: &mut Run) {
        let found = run.pieces.get(..run.count).unwrap_or_default();
        if found.is_empty() {
            return;
        }
        let mut slices = [IoSlice::new(&[]); PIECES];
        let mut length = 0;
        for (slice, at) in slices.iter_mut().zip(found) {
            let data = input.get(at.clone()).unwrap_or_default();
            length += data.len();
            *slice = IoSlice::new(data);
        }
        let slices = slices.get(..run.count).unwrap_or_default();
        run.count = 0;
        match self.streams.get_mut(&run.stream) {
            Some(stream) if stream.takes() => {
                let given = stream.arrive(slices);
                self.owe_stream(run.stream, given);
            }
            // Nobody wants it; others of the connection may use the room.
            _ => self.owe(length),
        }
    }

    fn data_begins(&mut self, id: u32, length: usize) -> Result<(), Fault> {
        if !self.settled {
            return Err(Fault::protocol("the first frame is not SETTINGS"));
        }
        if self.block.is_some() {
            return Err(Fault::protocol("a header block is interrupted"));
        }
        let length = i64::try_from(length).unwrap_or(WINDOW_MAX);
        self.receive_window -= length;
        if self.receive_window < 0 {
            let why = "more was sent than the connection's window allows";
            return Err(Fault::new(Reason::FLOW_CONTROL_ERROR, why));
        }
        if self.is_idle(id) {
            return Err(Fault::protocol("DATA on a stream that was never opened"));
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        stream.receive_window -= length;
        if stream.broken.is_some() {
            return Ok(());
        }
        if stream.remote_done {
            return self.refuse(id, Reason::STREAM_CLOSED);
        }
        if !stream.answered {
            return self.refuse(id, Reason::PROTOCOL_ERROR);
        }
        if stream.receive_window < 0 {
            return self.refuse(id, Reason::FLOW_CONTROL_ERROR);
        }
        Ok(())
    }

    /// Whether nobody has opened the stream.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        match self.role {
            Role::Client => id.is_multiple_of(2) || id >= self.next,
            Role::Server => id.is_multiple_of(2) || id > self.last && !self.is_too_late(id),
        }
    }

    /// The peer sends no more on a stream.
    pub(super) fn remote_done(&mut self, id: u32) -> Result<(), Fault> {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if stream.remote_done && stream.broken.is_none() {
            return self.refuse(id, Reason::STREAM_CLOSED);
        }
        stream.remote_done = true;
        stream.wake();
        Ok(())
    }
}
