//! Reads header blocks (RFC 7541 3 and 6).

use std::ops::Range;

use super::dynamic::{Name, Table, size};
use super::integer::Input;
use super::{DEFAULT, ENTERING, INDEXED, Malformed, PASSING, RESIZE, STRING, Size, huffman};

/// What stays of the room for Huffman coded text when a block is read. Longer text is rare.
const KEPT: usize = 512;

/// Reads header blocks of one connection's peer.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: Table,
    most: usize,
    /// The Huffman coded text of one field.
    scratch: Vec<u8>,
}

/// A string as it came.
enum Text<'b> {
    Plain(&'b [u8]),
    /// Where it is in the scratch room.
    Coded(Range<usize>),
}

impl Text<'_> {
    fn bytes<'a>(&'a self, scratch: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Coded(place) => scratch.get(place.clone()).unwrap_or_default(),
        }
    }
}

/// The list of one block: hands fields out while they fit.
struct List<F> {
    room: Option<usize>,
    field: F,
}

impl<F: FnMut(&[u8], &[u8])> List<F> {
    fn give(&mut self, name: &[u8], value: &[u8]) {
        let size = size(name, value);
        self.room = self.room.and_then(|room| room.checked_sub(size));
        if self.room.is_some() {
            (self.field)(name, value);
        }
    }
}

impl Decoder {
    /// `most`: the table size we have announced (`SETTINGS_HEADER_TABLE_SIZE`), bytes as RFC 7541
    /// 4.1 counts them.
    ///
    /// The table begins with the protocol's 4096 whatever was announced, as the peer's does: it
    /// says in a block when it goes to another size. A peer that has not seen our settings yet may
    /// name any size up to 4096. Once it has named one that we allow, it cannot go above ours.
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            table: Table::new(DEFAULT),
            most,
            scratch: Vec::new(),
        }
    }

    /// Reads one whole block; gives each field to `field(name, value)` in order. The table stays
    /// in step even if the list is too large: the whole block is always read, but once the size of
    /// the list (name, value and 32 for each field) exceeds `list_most`, no further field is given.
    ///
    /// After an error the table is of no use: the connection has to end.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        list_most: usize,
        field: impl FnMut(&[u8], &[u8]),
    ) -> Result<Size, Malformed> {
        let mut input = Input(block);
        let mut list = List {
            room: Some(list_most),
            field,
        };
        self.resize(&mut input)?;
        while let Some(first) = input.peek() {
            if starts(first, INDEXED) {
                let index = input.integer(INDEXED.1)?;
                let (name, value) = self.table.field(index).ok_or(Malformed)?;
                list.give(name, value);
            } else if starts(first, ENTERING) {
                self.literal(ENTERING, &mut input, &mut list)?;
            } else if starts(first, RESIZE) {
                // It belongs to the beginning of a block (4.2).
                return Err(Malformed);
            } else {
                // Whether it may ever be indexed makes no difference to who only reads it.
                self.literal(PASSING, &mut input, &mut list)?;
            }
        }
        if self.scratch.capacity() > KEPT {
            self.scratch = Vec::new();
        }
        Ok(list.room.map_or(Size::TooLarge, |_| Size::Fits))
    }

    /// Reads the changes of the table's size that a block begins with.
    fn resize(&mut self, input: &mut Input<'_>) -> Result<(), Malformed> {
        while input.peek().is_some_and(|first| starts(first, RESIZE)) {
            let size = input.integer(RESIZE.1)?;
            // Above ours only while the peer goes by the default.
            let bound = if self.table.most() > self.most {
                DEFAULT
            } else {
                self.most
            };
            if size > bound {
                return Err(Malformed);
            }
            self.table.resize(size);
        }
        Ok(())
    }

    /// Reads a field that is not in the table, or only its name.
    fn literal<F: FnMut(&[u8], &[u8])>(
        &mut self,
        kind: (u8, u8),
        input: &mut Input<'_>,
        list: &mut List<F>,
    ) -> Result<(), Malformed> {
        self.scratch.clear();
        let index = input.integer(kind.1)?;
        if index == 0 {
            let name = self.text(input)?;
            let value = self.text(input)?;
            let name = name.bytes(&self.scratch);
            let value = value.bytes(&self.scratch);
            list.give(name, value);
            if kind == ENTERING {
                self.table.insert(Name::Shared(name.into()), value);
            }
        } else {
            let name = self.table.name(index).ok_or(Malformed)?;
            let value = self.text(input)?;
            let value = value.bytes(&self.scratch);
            list.give(name.bytes(), value);
            if kind == ENTERING {
                self.table.insert(name, value);
            }
        }
        Ok(())
    }

    fn text<'b>(&mut self, input: &mut Input<'b>) -> Result<Text<'b>, Malformed> {
        let coded = input.peek().is_some_and(|first| starts(first, STRING));
        let length = input.integer(STRING.1)?;
        let bytes = input.take(length)?;
        if !coded {
            return Ok(Text::Plain(bytes));
        }
        let begin = self.scratch.len();
        huffman::decode(bytes, &mut self.scratch)?;
        Ok(Text::Coded(begin..self.scratch.len()))
    }

    #[cfg(test)]
    pub(super) const fn table(&self) -> &Table {
        &self.table
    }

    #[cfg(test)]
    pub(super) const fn kept(&self) -> usize {
        self.scratch.capacity()
    }
}

/// Whether a byte begins with a pattern: the bits that are not the number's.
const fn starts(first: u8, (pattern, number): (u8, u8)) -> bool {
    first & !number == pattern
}
