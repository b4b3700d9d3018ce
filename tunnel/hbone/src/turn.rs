//! Whose turn it is on a thread, in bytes.
//!
//! A lane (`tunnel/src/lane.rs`: the tasks of one pod) moves so many bytes and no more until the event loop has been
//! asked what is new: what a quiet pod waits for is seen then. A lane that is alone has long turns, beside others they
//! are short. Within a lane, a connection moves as much as it can at a stretch if it alone wants to, which is what makes
//! bulk transfer cheap. The more connections of a thread want more than their turn, the shorter the turns: up to 64 of
//! them together take no longer than one that is alone.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll};

/// Bytes moved at a stretch by what is alone.
const WHOLE: usize = 1 << 20;
/// By one connection of very many: a full record of TLS (RFC 8446 5.1).
const LEAST: usize = 16 << 10;
/// By a lane beside others: a quiet pod waits for some such turns, also on another thread. Twice of it is more for bulk, and
/// too much for the quiet pod (`hack/lane/README.md`, Fairness).
const BESIDE_OTHERS: usize = 32 << 10;

thread_local! {
    /// Connections that did not get to their end in their last turn.
    static WANTING: Cell<usize> = const { Cell::new(0) };
    /// Bytes that may still be moved in the present lane's turn. Nobody counts outside of lanes.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The turn of a lane, from its begin to its drop.
#[derive(Debug)]
pub struct LaneTurn(());

impl LaneTurn {
    /// Begins one; whether no other lane has something to do these days.
    #[must_use]
    pub fn begin(alone: bool) -> Self {
        LEFT.set(if alone { WHOLE } else { BESIDE_OTHERS });
        Self(())
    }
}

impl Drop for LaneTurn {
    fn drop(&mut self) {
        LEFT.set(usize::MAX);
    }
}

/// Bytes that may still be moved in this turn.
pub(crate) fn left() -> usize {
    LEFT.get()
}

/// So many were.
pub(crate) fn moved(bytes: usize) {
    LEFT.set(LEFT.get().saturating_sub(bytes));
}

/// Wakes the task once the event loop has been asked what is new.
pub fn later(cx: &mut Context<'_>) {
    // It is never ready the first time.
    let _pending: Poll<()> = pin!(tokio::task::yield_now()).poll(cx);
}

/// A connection's place among those of its thread.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    wanting: bool,
}

impl Turn {
    /// Bytes it may move now, each way.
    pub(crate) fn bytes(&self) -> usize {
        let others = WANTING.get() - usize::from(self.wanting);
        (WHOLE / (others + 1)).clamp(LEAST, WHOLE).min(left())
    }

    /// The turn is over; whether there was more to do.
    pub(crate) fn over(&mut self, wanting: bool) {
        if wanting != self.wanting {
            self.wanting = wanting;
            let all = WANTING.get();
            WANTING.set(if wanting { all + 1 } else { all - 1 });
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.over(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_want_more_the_less_each_gets() {
        let mut all: Vec<Turn> = (0..100).map(|_| Turn::default()).collect();
        assert_eq!(all[0].bytes(), WHOLE);
        for turn in &mut all {
            turn.over(true);
            turn.over(true);
        }
        assert_eq!(all[0].bytes(), LEAST);
        all.truncate(4);
        assert_eq!(all[0].bytes(), WHOLE / 4);
        assert_eq!(Turn::default().bytes(), WHOLE / 5);
        all[1].over(false);
        assert_eq!(all[0].bytes(), WHOLE / 3);
        drop(all);
        assert_eq!(Turn::default().bytes(), WHOLE);
    }

    #[test]
    fn nobody_moves_more_than_the_turn_of_its_lane() {
        let turn = Turn::default();
        {
            let _lane = LaneTurn::begin(true);
            assert_eq!(turn.bytes(), WHOLE);
            moved(WHOLE - 7);
            assert_eq!(turn.bytes(), 7);
            moved(8);
            assert_eq!(turn.bytes(), 0);
        }
        assert_eq!(turn.bytes(), WHOLE);
        let _lane = LaneTurn::begin(false);
        assert_eq!(left(), BESIDE_OTHERS);
    }
}
