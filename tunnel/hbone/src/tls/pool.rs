//! Buffers for what goes out, and the lists of pieces, which only exist while they are needed.
//!
//! Like [`crate::buffers`], with another size.

use std::cell::RefCell;
use std::ops::Range;

use super::FULL;
use super::gather::ROOM;

/// Size of a buffer that gathers, bytes: all that data may fill, sealed, and some more for the
/// frames that control the connection.
pub(super) const SIZE: usize = ROOM + 2 * FULL;

/// Buffers kept per thread. A tunnel has one for a moment only, unless its peer does not read.
const KEPT: usize = 4;
/// Pieces in a list that is kept; a buffer of tiny records makes a longer one.
const PIECES: usize = 1024;

thread_local! {
    static STOCK: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static LISTS: RefCell<Vec<Vec<Range<usize>>>> = const { RefCell::new(Vec::new()) };
}

/// A zero-filled (or earlier used) buffer of [`SIZE`] bytes.
pub(super) fn take() -> Vec<u8> {
    STOCK
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; SIZE])
}

/// Gives a buffer back. One that has grown is freed.
pub(super) fn give(buffer: Vec<u8>) {
    if buffer.len() == SIZE {
        STOCK.with_borrow_mut(|stock| {
            if stock.len() < KEPT {
                stock.push(buffer);
            }
        });
    }
}

/// An empty list of pieces.
pub(super) fn take_list() -> Vec<Range<usize>> {
    LISTS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives a list back.
pub(super) fn give_list(mut list: Vec<Range<usize>>) {
    if (1..=PIECES).contains(&list.capacity()) {
        list.clear();
        LISTS.with_borrow_mut(|lists| {
            if lists.len() < KEPT {
                lists.push(list);
            }
        });
    }
}
