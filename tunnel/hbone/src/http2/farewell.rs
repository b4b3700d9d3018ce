//! How a connection ends when it should (RFC 9113 6.8).
//!
//! ```text
//! GOAWAY(all) + PING ──(PING comes back)──► GOAWAY(the last that came) ──(all served)──► closed
//! ```

use super::core::Core;
use super::frame::{self, Reason};

/// The ping that follows a goodbye.
pub(super) const GOODBYE: [u8; 8] = *b"goodbye?";
/// Said in a goodbye that refuses nothing yet.
pub(super) const LAST_OF_ALL: u32 = (1 << 31) - 1;

/// Who has said what.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    /// The peer has said that it goes.
    pub theirs: bool,
    /// We have said that we go, and up to which stream we still serve.
    pub serves_to: Option<u32>,
    /// The peer has heard it.
    pub heard: bool,
}

impl Core {
    /// Asks the peer to open no more streams; those that are under way meanwhile are served (RFC 9113 6.8).
    pub(crate) fn say_goodbye(&mut self) {
        if self.farewell.serves_to.is_none() {
            self.farewell.serves_to = Some(LAST_OF_ALL);
            self.gather
                .put(&frame::goaway(LAST_OF_ALL, Reason::NO_ERROR));
            self.gather.put(&frame::ping(0, GOODBYE));
        }
    }

    /// Tells the peer which of its streams are served, and that no other will be.
    pub(crate) fn say_last(&mut self, reason: Reason) {
        let last = self.last;
        if self.farewell.serves_to.is_none_or(|to| to > last) || reason != Reason::NO_ERROR {
            self.farewell.serves_to = Some(last);
            self.gather.put(&frame::goaway(last, reason));
        }
    }

    /// Whether a stream of the peer is none that we serve. It was told (RFC 9113 6.8), and may not have heard yet: what
    /// it says there is not looked at.
    pub(super) fn is_too_late(&self, id: u32) -> bool {
        self.farewell.serves_to.is_some_and(|last| id > last)
    }

    /// Whether the peer knows that we go, and nothing of it is under way.
    pub(crate) fn is_served(&self) -> bool {
        self.farewell.heard && self.streams.is_empty() && self.asked.is_empty()
    }
}
