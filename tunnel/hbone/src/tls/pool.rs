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

/// Size of a buffer that gathers little, bytes: what many busy tunnels have at the same moment must not be large for each.
pub(super) const SMALL: usize = 2 * FULL;

/// Buffers kept per thread, of which there are as many as pods. A tunnel has one for a moment only, unless its peer does
/// not read.
const KEPT: usize = 1;
/// Small ones: those of a pod's tunnels that have something to send in one turn of the event loop.
const KEPT_SMALL: usize = 8;
/// Lists.
const KEPT_LISTS: usize = 4;
/// Pieces in a list that is kept; a buffer of tiny records makes a longer one.
const PIECES: usize = 1024;

thread_local! {
    static STOCK: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static SMALL_STOCK: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static LISTS: RefCell<Vec<Vec<Range<usize>>>> = const { RefCell::new(Vec::new()) };
}

/// A zero-filled (or earlier used) buffer of so many bytes at least: one of the two sizes, or more.
pub(super) fn take(size: usize) -> Vec<u8> {
    if size <= SMALL {
        SMALL_STOCK
            .with_borrow_mut(Vec::pop)
            .unwrap_or_else(|| vec![0; SMALL])
    } else if size <= SIZE {
        STOCK
            .with_borrow_mut(Vec::pop)
            .unwrap_or_else(|| vec![0; SIZE])
    } else {
        // With some to spare: whoever puts many small pieces must not have all of it moved for each.
        vec![0; size + size / 2]
    }
}

/// Gives a buffer back. One that is larger is freed.
pub(super) fn give(buffer: Vec<u8>) {
    let (stock, kept) = match buffer.len() {
        SMALL => (&SMALL_STOCK, KEPT_SMALL),
        SIZE => (&STOCK, KEPT),
        _ => return,
    };
    stock.with_borrow_mut(|stock| {
        if stock.len() < kept {
            stock.push(buffer);
        }
    });
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
            if lists.len() < KEPT_LISTS {
                lists.push(list);
            }
        });
    }
}
