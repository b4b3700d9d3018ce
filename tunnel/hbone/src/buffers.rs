//! Buffers that exist only while bytes are in them.
//!
//! An idle connection must not hold a buffer, and a busy one must not allocate for each read. Both
//! follow from a small per-thread stock: a buffer is taken when there is something to read into it
//! and goes back when it has been emptied.

use std::cell::RefCell;

/// Size of a pooled buffer, bytes: large reads are what makes bulk transfer cheap.
pub(crate) const BUFFER: usize = 256 * 1024;

/// Buffers kept per thread, of which there are as many as pods; what is returned beyond that is freed.
const KEPT: usize = 2;

thread_local! {
    static STOCK: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A zero-filled (or earlier used) buffer of [`BUFFER`] bytes.
pub(crate) fn take() -> Vec<u8> {
    STOCK
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; BUFFER])
}

/// Gives a buffer back. Buffers of another size are freed.
pub(crate) fn give(buffer: Vec<u8>) {
    if buffer.len() == BUFFER {
        STOCK.with_borrow_mut(|stock| {
            if stock.len() < KEPT {
                stock.push(buffer);
            }
        });
    }
}

/// Lends the thread's scratch buffer of [`BUFFER`] bytes for the length of `work`, which must not
/// call this function again.
pub(crate) fn scratch<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.is_empty() {
            scratch.resize(BUFFER, 0);
        }
        work(scratch)
    })
}
