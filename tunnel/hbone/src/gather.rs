//! What arrived and waits for a slow reader, in few pieces however small it came.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Chunks below this size are copied together: a peer must not make us keep a record of each of a
/// million one-byte frames.
const SMALL: usize = 4096;

/// Puts what arrived behind what waits already.
pub(crate) fn keep(small: &mut BytesMut, waiting: &mut VecDeque<Bytes>, data: Bytes) {
    let whole = data.len() >= SMALL;
    if !whole {
        small.extend_from_slice(&data);
    }
    if (whole || small.len() >= SMALL) && !small.is_empty() {
        waiting.push_back(std::mem::take(small).freeze());
    }
    if whole {
        waiting.push_back(data);
    }
}

/// Hands out small pieces when nothing else waits. While something does, they go on gathering from
/// one turn to the next: a peer may send its million frames one a turn.
pub(crate) fn settle(small: &mut BytesMut, waiting: &mut VecDeque<Bytes>) {
    if waiting.is_empty() && !small.is_empty() {
        waiting.push_back(std::mem::take(small).freeze());
    }
}
