//! What all streams of a thread may hold together for applications that do not read.
//!
//! Each stream is bounded by its window and each tunnel by its own, but a peer may open many
//! tunnels. When all of them together hold too much, streams that hold more than their share end
//! with a reason; the others go on.

use std::cell::Cell;

/// Bytes all streams of a thread may hold unread.
const BUDGET: usize = 256 << 20;
/// Bytes a stream may hold whatever the others do.
const SHARE: usize = 64 << 10;

thread_local! {
    static TOTAL: Cell<usize> = const { Cell::new(0) };
}

/// What one stream holds.
#[derive(Debug, Default)]
pub(crate) struct Held(usize);

impl Held {
    /// Counts bytes that arrived; `false` when there is no room for them.
    #[must_use]
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        self.0 += bytes;
        TOTAL.set(TOTAL.get() + bytes);
        self.0 <= SHARE || TOTAL.get() <= BUDGET
    }

    /// Counts bytes that the application took.
    pub(crate) fn give(&mut self, bytes: usize) {
        self.0 -= bytes;
        TOTAL.set(TOTAL.get() - bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        TOTAL.set(TOTAL.get() - self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_budget_only_those_above_their_share_end() {
        let mut greedy = Held::default();
        let mut modest = Held::default();
        assert!(greedy.add(BUDGET));
        assert!(modest.add(SHARE));
        assert!(!greedy.add(1));
        drop(greedy);
        assert!(modest.add(BUDGET - SHARE));
        modest.give(BUDGET);
        assert_eq!(TOTAL.get(), 0);
    }
}
