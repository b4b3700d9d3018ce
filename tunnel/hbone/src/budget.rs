//! What all streams may hold together for applications that do not read.
//!
//! Each stream is bounded by its window and each tunnel by its own, but a peer may open many
//! tunnels. A stream may always hold its share. What streams hold above that is counted for the whole
//! process, and when it is too much, those that want more still end with a reason; the others go on.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes all streams of the process may hold unread, beyond the share of each.
const BUDGET: usize = 256 << 20;
/// Bytes a stream may hold whatever the others do. Most never hold more, and then share no counter with other threads.
const SHARE: usize = 64 << 10;

static TOTAL: AtomicUsize = AtomicUsize::new(0);

/// What one stream holds.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: usize,
    total: &'static AtomicUsize,
}

impl Default for Held {
    fn default() -> Self {
        Self::of(&TOTAL)
    }
}

impl Held {
    fn of(total: &'static AtomicUsize) -> Self {
        Self { bytes: 0, total }
    }

    /// Counts bytes that arrived; `false` when there is no room for them.
    #[must_use]
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        let before = self.beyond();
        self.bytes += bytes;
        let more = self.beyond() - before;
        // Nothing else is read by it: only the sum matters.
        more == 0 || self.total.fetch_add(more, Ordering::Relaxed) + more <= BUDGET
    }

    /// Counts bytes that the application took.
    pub(crate) fn give(&mut self, bytes: usize) {
        let before = self.beyond();
        self.bytes -= bytes;
        self.less(before - self.beyond());
    }

    fn beyond(&self) -> usize {
        self.bytes.saturating_sub(SHARE)
    }

    fn less(&self, bytes: usize) {
        if bytes > 0 {
            self.total.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.less(self.beyond());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_budget_only_those_above_their_share_end() {
        // Not the one that other tests of this process use.
        static TOTAL: AtomicUsize = AtomicUsize::new(0);
        let [mut greedy, mut modest] = [Held::of(&TOTAL), Held::of(&TOTAL)];
        assert!(greedy.add(BUDGET + SHARE));
        assert!(modest.add(SHARE));
        assert!(!greedy.add(1));
        assert!(!modest.add(1));
        drop(greedy);
        assert!(modest.add(BUDGET - 1));
        assert_eq!(TOTAL.load(Ordering::Relaxed), BUDGET);
        modest.give(BUDGET + 1);
        assert_eq!(TOTAL.load(Ordering::Relaxed), 0);
        modest.give(SHARE - 1);
        drop(modest);
        assert_eq!(TOTAL.load(Ordering::Relaxed), 0);
    }
}
