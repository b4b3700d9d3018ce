//! How much one connection may move before others get their turn.
//!
//! Alone, a connection moves as much as it can at a stretch, which is what makes bulk transfer cheap.
//! The more connections of a thread want more than their turn, the shorter the turns: up to 64 of them
//! together take no longer than one that is alone.

use std::cell::Cell;

/// Bytes moved at a stretch by one connection that is alone.
const WHOLE: usize = 1 << 20;
/// By one of very many: a full record of TLS (RFC 8446 5.1).
const LEAST: usize = 16 << 10;

thread_local! {
    /// Connections that did not get to their end in their last turn.
    static WANTING: Cell<usize> = const { Cell::new(0) };
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
        (WHOLE / (others + 1)).clamp(LEAST, WHOLE)
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
}
