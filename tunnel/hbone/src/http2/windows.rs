//! How much may be on the way (RFC 9113 5.2), and who waits for room.

use super::core::Core;
use super::frame::{self, HEAD};
use super::stream::{Line, Stream};

impl Core {
    /// Bytes were taken: the peer may send as many more. It is told when half of the window is owed.
    pub(super) fn owe(&mut self, bytes: usize) {
        // Never more than the window, which is an u32.
        self.owed += u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.owed >= self.bounds.tunnel_window / 2 {
            self.receive_window += i64::from(self.owed);
            let owed = std::mem::take(&mut self.owed);
            self.gather.put(&frame::window_update(0, owed));
            self.wake_driver();
        }
    }

    /// The same for a stream.
    pub(super) fn owe_stream(&mut self, id: u32, bytes: usize) {
        if bytes == 0 {
            return;
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.owed += u32::try_from(bytes).unwrap_or(u32::MAX);
            let hears = stream.broken.is_none() && !stream.remote_done;
            if hears && stream.owed >= self.bounds.stream_window / 2 {
                stream.receive_window += i64::from(stream.owed);
                let owed = std::mem::take(&mut stream.owed);
                self.gather.put(&frame::window_update(id, owed));
                self.wake_driver();
            }
        }
        self.owe(bytes);
    }

    /// Streams that wait for room are woken one after the other, each by the one before it.
    pub(crate) fn grant(&mut self) {
        if self.gather.room() == 0 || self.send_window <= 0 {
            return;
        }
        while let Some(id) = self.blocked.pop_front() {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            if stream.broken.is_some() || stream.local_done {
                // It sends no more, and who had it may have other things to do.
                stream.line = Line::No;
                continue;
            }
            stream.line = Line::Granted;
            stream.wake();
            return;
        }
    }

    /// Bytes of data that the stream may send now.
    pub(super) fn room(&self, stream: &Stream) -> usize {
        let windows = stream.send_window.min(self.send_window).max(0);
        let windows = usize::try_from(windows).unwrap_or(usize::MAX);
        let gather = self.gather.room().saturating_sub(HEAD);
        windows.min(gather).min(self.theirs.frame)
    }

    /// So much data was sent on a stream.
    pub(super) fn sent(&mut self, id: u32, n: usize) {
        // At most a frame's length, which has 24 bits.
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        self.send_window -= n;
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.send_window -= n;
        }
        self.wake_driver();
    }

    pub(super) fn wait_for_room(&mut self, id: u32) {
        // A stream's own window wakes it by itself.
        let in_line = self.gather.room() <= HEAD || self.send_window <= 0;
        if let Some(stream) = self.streams.get_mut(&id)
            && in_line
            && stream.line != Line::Waits
        {
            stream.line = Line::Waits;
            self.blocked.push_back(id);
        }
    }

    /// A stream's turn is over: if it was woken because there is room, the next one is.
    pub(crate) fn pass_on(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id)
            && stream.line == Line::Granted
        {
            stream.line = Line::No;
            self.grant();
        }
    }
}
