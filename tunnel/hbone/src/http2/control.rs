//! Frames that control a connection or a stream (RFC 9113 6.3 to 6.9).

use super::core::{Core, Role};
use super::farewell::GOODBYE;
use super::fault::{Broken, Fault};
use super::frame::{self, Head, Reason, WINDOW_MAX, flag, kind};
use super::settings;
use super::stream::Gate;

impl Core {
    /// A frame that carries no data.
    pub(super) fn whole(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if !self.settled && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(Fault::protocol("the first frame is not SETTINGS"));
        }
        if self.block.is_some() && head.kind != kind::CONTINUATION {
            return Err(Fault::protocol("a header block is interrupted"));
        }
        let of_stream = !matches!(head.kind, kind::SETTINGS | kind::PING | kind::GOAWAY);
        let known = head.kind <= kind::CONTINUATION && head.kind != kind::WINDOW_UPDATE;
        if known && of_stream == (head.stream == 0) {
            return Err(Fault::protocol(
                "a frame of a stream without one, or the other way",
            ));
        }
        match head.kind {
            kind::HEADERS => self.headers(head, payload),
            kind::CONTINUATION => self.continuation(head, payload),
            kind::PRIORITY => exactly::<5>(payload).map(drop),
            kind::RST_STREAM => {
                let reason = Reason(u32::from_be_bytes(*exactly(payload)?));
                self.reset(head.stream, reason)
            }
            kind::SETTINGS => self.settings(head, payload),
            kind::PUSH_PROMISE => Err(Fault::protocol("a push that nobody allowed")),
            kind::PING => {
                self.pinged(head, *exactly(payload)?);
                Ok(())
            }
            kind::GOAWAY => self.goaway(payload),
            kind::WINDOW_UPDATE => {
                let more = u32::from_be_bytes(*exactly(payload)?) & (u32::MAX >> 1);
                self.window_update(head.stream, i64::from(more))
            }
            // RFC 9113 4.1.
            _ => Ok(()),
        }
    }

    fn reset(&mut self, id: u32, reason: Reason) -> Result<(), Fault> {
        if self.is_idle(id) {
            return Err(Fault::protocol(
                "RST_STREAM of a stream that was never opened",
            ));
        }
        if let Some(at) = self.asked.iter().position(|(asked, _)| *asked == id) {
            self.asked.remove(at);
            self.forget(id);
            self.early_resets += 1;
            if self.early_resets > self.bounds.early_resets {
                return Err(Fault::excessive("streams are opened and reset at once"));
            }
            return Ok(());
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        let begun = stream.answered && stream.gate == Gate::Open;
        if reason.is_quiet() && begun {
            // RFC 9113 8.5 has FIN as END_STREAM; peers also end a stream by these two.
            (stream.local_done, stream.remote_done) = (true, true);
            stream.wake();
        } else {
            stream.fail(Broken::Reset(reason));
        }
        Ok(())
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<(), Fault> {
        if head.has(flag::ACK) {
            return if payload.is_empty() {
                Ok(())
            } else {
                Err(wrong_size())
            };
        }
        let before = i64::from(self.theirs.window);
        self.theirs.update(payload)?;
        if let Some(table) = self.theirs.table {
            self.encoder.limit_table(table);
        }
        let more = i64::from(self.theirs.window) - before;
        for stream in self.streams.values_mut() {
            let was_shut = stream.send_window <= 0;
            stream.send_window += more;
            if stream.send_window > WINDOW_MAX {
                return Err(overflow());
            }
            if was_shut && stream.send_window > 0 {
                stream.wake();
            }
        }
        self.settled = true;
        self.gather.put(&settings::acknowledged());
        Ok(())
    }

    fn pinged(&mut self, head: Head, payload: [u8; 8]) {
        if !head.has(flag::ACK) {
            self.gather.put(&frame::ping(flag::ACK, payload));
        } else if payload == GOODBYE && self.farewell.serves_to.is_some() {
            self.say_last(Reason::NO_ERROR);
            self.farewell.heard = true;
        }
    }

    fn goaway(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let Some((last, rest)) = payload.split_first_chunk() else {
            return Err(wrong_size());
        };
        let Some((reason, _)) = rest.split_first_chunk() else {
            return Err(wrong_size());
        };
        let last = u32::from_be_bytes(*last) & (u32::MAX >> 1);
        let reason = Reason(u32::from_be_bytes(*reason));
        self.farewell.theirs = true;
        if self.role == Role::Client {
            for (id, stream) in &mut self.streams {
                if *id > last {
                    stream.fail(Broken::Unprocessed(reason));
                }
            }
        }
        Ok(())
    }

    fn window_update(&mut self, id: u32, more: i64) -> Result<(), Fault> {
        if id == 0 {
            if more == 0 {
                return Err(Fault::protocol("a window that grows by nothing"));
            }
            self.send_window += more;
            if self.send_window > WINDOW_MAX {
                return Err(overflow());
            }
            self.grant();
            return Ok(());
        }
        if self.is_idle(id) {
            return Err(Fault::protocol(
                "a window of a stream that was never opened",
            ));
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        if stream.broken.is_some() {
            return Ok(());
        }
        let was_shut = stream.send_window <= 0;
        stream.send_window += more;
        if more == 0 {
            return self.refuse(id, Reason::PROTOCOL_ERROR);
        }
        if stream.send_window > WINDOW_MAX {
            return self.refuse(id, Reason::FLOW_CONTROL_ERROR);
        }
        if was_shut {
            stream.wake();
        }
        Ok(())
    }
}

fn exactly<const N: usize>(payload: &[u8]) -> Result<&[u8; N], Fault> {
    payload.try_into().map_err(|_| wrong_size())
}

const fn wrong_size() -> Fault {
    Fault::new(
        Reason::FRAME_SIZE_ERROR,
        "a frame has not the size of its kind",
    )
}

const fn overflow() -> Fault {
    Fault::new(Reason::FLOW_CONTROL_ERROR, "a window is above 2^31-1")
}
