//! What a peer has said about the order in which it does things.

use std::cell::Cell;
use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue};

/// In a 200: "what you send on this stream is given to the application only after this answer has
/// been handed to the kernel". The value is `1`; others promise nothing.
pub const ANSWER_FIRST: HeaderName = HeaderName::from_static("x-ambient-answer-first");
const YES: HeaderValue = HeaderValue::from_static("1");

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
    /// What an answer promises.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if headers.get(ANSWER_FIRST) == Some(&YES) {
            Self::AnswersFirst
        } else {
            Self::Nothing
        }
    }

    /// Promises in an answer of ours what [`crate::Pump::serve`] keeps.
    pub(crate) fn give(headers: &mut HeaderMap) {
        headers.insert(ANSWER_FIRST, YES);
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
