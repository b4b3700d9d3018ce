//! The numbered fields of one direction of a connection: the static ones, then its own entries
//! with the newest first (RFC 7541 2.3 and 4).
//!
//! A name is held once however many entries have it. It saves memory, and it is what makes an
//! entry cheap that takes over a long name by a number: two bytes of a block can demand it.

use std::collections::VecDeque;
use std::rc::Rc;

use super::{OVERHEAD, table};

/// The name of an entry.
#[derive(Clone, Debug)]
pub(super) enum Name {
    /// That of a static field.
    Static(u8),
    /// One that came in a block.
    Shared(Rc<[u8]>),
}

impl Name {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Static(index) => {
                table::field(usize::from(*index)).map_or(&[][..], |(name, _)| name)
            }
            Self::Shared(name) => name,
        }
    }
}

#[derive(Debug)]
struct Entry {
    name: Name,
    value: Box<[u8]>,
}

impl Entry {
    fn size(&self) -> usize {
        size(self.name.bytes(), &self.value)
    }
}

/// What a field counts in a table, and in a list.
pub(super) fn size(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + OVERHEAD
}

/// Which number can stand for a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// For name and value.
    Field(usize),
    /// For the name alone.
    Name(usize),
    Nothing,
}

/// The fields that have a number.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
}

impl Table {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most,
        }
    }

    /// The size that its entries may have together.
    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// Changes it; the oldest entries go if need be.
    pub(super) fn resize(&mut self, most: usize) {
        self.most = most;
        self.evict(most);
    }

    /// Adds an entry. One that is larger than the table leaves it empty (4.4).
    pub(super) fn insert(&mut self, name: Name, value: &[u8]) {
        let size = size(name.bytes(), value);
        let Some(rest) = self.most.checked_sub(size) else {
            self.evict(0);
            return;
        };
        self.evict(rest);
        self.size += size;
        let value = value.into();
        self.entries.push_front(Entry { name, value });
    }

    fn evict(&mut self, most: usize) {
        while self.size > most {
            let Some(oldest) = self.entries.pop_back() else {
                return;
            };
            self.size -= oldest.size();
        }
    }

    fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index.checked_sub(table::COUNT + 1)?)
    }

    /// The field with the number `index`.
    pub(super) fn field(&self, index: usize) -> Option<(&[u8], &[u8])> {
        if index <= table::COUNT {
            return table::field(index);
        }
        let entry = self.entry(index)?;
        Some((entry.name.bytes(), &entry.value))
    }

    /// The name of the field with the number `index`.
    pub(super) fn name(&self, index: usize) -> Option<Name> {
        match u8::try_from(index) {
            Ok(0) => None,
            Ok(small) if index <= table::COUNT => Some(Name::Static(small)),
            _ => Some(self.entry(index)?.name.clone()),
        }
    }

    /// Looks for a field, or for a name if no value is asked for. The connection's own entries
    /// come first: they are few, and what is sent again is among the newest.
    pub(super) fn find(&self, name: &[u8], value: Option<&[u8]>) -> Found {
        let own = (table::COUNT + 1..).zip(self.entries.iter());
        let own = own.map(|(index, entry)| (index, entry.name.bytes(), &*entry.value));
        let fixed = (1..=table::COUNT).filter_map(|index| {
            let (name, value) = table::field(index)?;
            Some((index, name, value))
        });
        let mut named = Found::Nothing;
        for (index, other, content) in own.chain(fixed) {
            if other != name {
                continue;
            }
            if Some(content) == value {
                return Found::Field(index);
            }
            if named == Found::Nothing {
                named = Found::Name(index);
            }
            if value.is_none() {
                break;
            }
        }
        named
    }

    #[cfg(test)]
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::Shared(text.as_bytes().into())
    }

    #[test]
    fn the_oldest_go_and_what_is_too_large_empties() {
        let mut table = Table::new(3 * 34);
        for text in ["a", "b", "c", "d"] {
            table.insert(name(text), b"1");
        }
        assert_eq!((table.len(), table.size()), (3, 3 * 34));
        assert_eq!(table.field(62), Some((&b"d"[..], &b"1"[..])));
        assert_eq!(table.field(64), Some((&b"b"[..], &b"1"[..])));
        assert_eq!(table.field(65), None);
        table.resize(3 * 34 - 1);
        assert_eq!((table.len(), table.size()), (2, 2 * 34));
        // Exactly as large as the table: it is alone there.
        table.insert(name("e"), &[0; 3 * 34 - 1 - 33]);
        assert_eq!((table.len(), table.size()), (1, 3 * 34 - 1));
        table.insert(name("f"), &[0; 3 * 34 - 33]);
        assert_eq!((table.len(), table.size()), (0, 0));
        assert!(table.field(62).is_none());
    }

    #[test]
    fn an_entry_may_have_the_name_of_one_that_it_drives_out() {
        let mut table = Table::new(40);
        table.insert(name("long"), b"1");
        if let Some(same) = table.name(62) {
            table.insert(same, b"22");
        }
        assert_eq!(table.field(62), Some((&b"long"[..], &b"22"[..])));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn an_entry_is_small() {
        assert_eq!(size_of::<Entry>(), 32);
    }

    #[test]
    fn finds_the_whole_before_the_name() {
        let mut table = Table::new(4096);
        assert_eq!(table.find(b":status", Some(b"204")), Found::Field(9));
        assert_eq!(table.find(b":status", Some(b"201")), Found::Name(8));
        assert_eq!(table.find(b"baggage", None), Found::Nothing);
        table.insert(name("baggage"), b"a");
        table.insert(name("baggage"), b"b");
        assert_eq!(table.find(b"baggage", Some(b"a")), Found::Field(63));
        assert_eq!(table.find(b"baggage", Some(b"c")), Found::Name(62));
        assert_eq!(table.find(b"baggage", None), Found::Name(62));
    }
}
