//! What a peer has said about the order in which it does things.

use std::cell::Cell;
use std::rc::Rc;

/// In a 200: "what you send on this stream is given to the application only after this answer has
/// been handed to the kernel". The value is `1`; others promise nothing.
pub const ANSWER_FIRST: &str = "x-ambient-answer-first";
pub(crate) const YES: &str = "1";

/// What is known of a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Promise {
    /// It has not answered yet.
    #[default]
    Unknown,
    /// It has answered and promised nothing.
    Nothing,
    /// It answers first.
    AnswersFirst,
}

impl Promise {
    /// What is known after one more field of an answer.
    pub(crate) fn with(self, name: &[u8], value: &[u8]) -> Self {
        if name == ANSWER_FIRST.as_bytes() && value == YES.as_bytes() {
            Self::AnswersFirst
        } else {
            self
        }
    }

    /// What is known after an answer's last field.
    pub(crate) const fn answered(self) -> Self {
        match self {
            Self::Unknown => Self::Nothing,
            known => known,
        }
    }
}

/// What a peer promised in its latest answer, shared by all tunnels to it.
#[derive(Clone, Debug, Default)]
pub struct Promised(Rc<Cell<Promise>>);

impl Promised {
    /// Whether it has ever answered.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.get() != Promise::Unknown
    }

    /// From now on it is a stranger again.
    pub fn forget(&self) {
        self.0.set(Promise::Unknown);
    }

    /// Whether a tunnel, or anybody else, shares it.
    #[must_use]
    pub fn in_use(&self) -> bool {
        Rc::strong_count(&self.0) > 1
    }

    pub(crate) fn learn(&self, promise: Promise) {
        self.0.set(promise);
    }

    pub(crate) fn get(&self) -> Promise {
        self.0.get()
    }
}
