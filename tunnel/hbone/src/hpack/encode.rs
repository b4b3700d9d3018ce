//! Writes header blocks (RFC 7541 3 and 6), without Huffman coding: what is sent often is a number
//! anyway, and the rest is short.
//!
//! The table is kept at 2048 bytes although the protocol gives 4096. That is the fields of some
//! ten or twenty different peers and services, it costs each end half as much memory, and it
//! bounds the search: an entry counts at least 32, so there are never more than 64, and in
//! practice about 20. The first block of a connection says so to the peer. What would take more
//! than half of the table is not entered: it would drive out all that is of use.

use super::dynamic::{Found, Name, Table, size};
use super::{DEFAULT, ENTERING, INDEXED, PASSING, RESIZE, STRING, integer};

/// The table's size that we use at most.
const MOST: usize = 2048;

/// Writes header blocks for one connection.
#[derive(Debug)]
pub(crate) struct Encoder {
    table: Table,
    /// What the peer allows.
    allowed: usize,
    /// The least that it allowed since the last block, if that is news to be confirmed.
    lowest: Option<usize>,
}

impl Encoder {
    /// Assumes the protocol's default table size until told otherwise.
    pub(crate) const fn new() -> Self {
        Self {
            table: Table::new(DEFAULT),
            allowed: DEFAULT,
            // The first block tells the peer of our own bound.
            lowest: Some(DEFAULT),
        }
    }

    /// The peer's `SETTINGS_HEADER_TABLE_SIZE`. The next block begins with what RFC 7541 4.2
    /// demands, also if it was lowered and raised again before.
    pub(crate) fn limit_table(&mut self, most: u32) {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if most != self.allowed {
            self.allowed = most;
            self.lowest = Some(self.lowest.map_or(most, |lowest| lowest.min(most)));
        }
    }

    /// Begins a block at the end of `out`.
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        let Some(lowest) = self.lowest.take() else {
            return;
        };
        // A peer that lowers its size waits for a confirmation, even if ours is below anyway
        // (RFC 9113 4.3.1).
        let (lowest, last) = (lowest.min(MOST), self.allowed.min(MOST));
        if lowest < last {
            self.resize(lowest, out);
        }
        self.resize(last, out);
    }

    fn resize(&mut self, most: usize, out: &mut Vec<u8>) {
        self.table.resize(most);
        integer::write(RESIZE, most, out);
    }

    /// A field whose value comes again (a method, an authority, baggage): enters the table, later
    /// one or two bytes.
    pub(crate) fn repeated(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        match self.table.find(name, Some(value)) {
            Found::Field(index) => integer::write(INDEXED, index, out),
            Found::Name(index) => self.literal(index, name, value, true, out),
            Found::Nothing => self.literal(0, name, value, true, out),
        }
    }

    /// A field whose value is different each time: the value does not enter the table, but its name
    /// is by number. The first time the field is entered with this value for the sake of its name;
    /// so it is again when that entry is gone.
    pub(crate) fn changing(&mut self, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        match self.table.find(name, None) {
            Found::Field(index) | Found::Name(index) => {
                self.literal(index, name, value, false, out);
            }
            Found::Nothing => self.literal(0, name, value, true, out),
        }
    }

    /// Writes a field with its name by number, or in full if that is 0, and enters it if that is
    /// wanted and sensible.
    fn literal(&mut self, index: usize, name: &[u8], value: &[u8], enter: bool, out: &mut Vec<u8>) {
        let enter = enter && size(name, value) <= self.table.most() / 2;
        let kind = if enter { ENTERING } else { PASSING };
        integer::write(kind, index, out);
        if index == 0 {
            string(name, out);
        }
        string(value, out);
        if enter {
            let known = self.table.name(index);
            let name = known.unwrap_or_else(|| Name::Shared(name.into()));
            self.table.insert(name, value);
        }
    }

    #[cfg(test)]
    pub(super) const fn table(&self) -> &Table {
        &self.table
    }
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    // The pattern's bit would say Huffman.
    integer::write((0, STRING.1), text.len(), out);
    out.extend_from_slice(text);
}
