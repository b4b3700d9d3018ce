use std::sync::Arc;

/// Values by hash, cheap to copy and to change a copy of: what the copies do not differ in, they
/// share. No place of it is empty, and none holds a key beside the value.
#[derive(Debug, Clone)]
pub(super) struct Table<V> {
    /// A power of two of them, by the upper bits of the hash; or none.
    parts: Vec<Arc<Part<V>>>,
    len: usize,
}

/// In the order of their hashes.
#[derive(Debug, Clone)]
struct Part<V>(Vec<(u64, V)>);

/// What a part holds on average, at most: a change copies one part and counts the others.
const FULL: usize = 256;

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self {
            parts: Vec::new(),
            len: 0,
        }
    }
}

impl<V: Clone> Table<V> {
    /// Every value of this hash; the caller tells those that are meant from others.
    pub(super) fn of(&self, hash: u64) -> impl Iterator<Item = &V> {
        let part = self.parts.get(self.part(hash));
        let part: &[(u64, V)] = part.map_or(&[], |part| &part.0);
        let from = part.partition_point(|(known, _)| *known < hash);
        let same = part.iter().skip(from);
        same.take_while(move |(known, _)| *known == hash)
            .map(|(_, value)| value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &V> {
        let parts = self.parts.iter();
        parts.flat_map(|part| part.0.iter().map(|(_, value)| value))
    }

    pub(super) fn insert(&mut self, hash: u64, value: V) {
        if self.len >= self.parts.len() * FULL {
            self.split();
        }
        let at = self.part(hash);
        let part = &mut Arc::make_mut(&mut self.parts[at]).0;
        if part.len() == part.capacity() {
            // There are many parts, and few of them ever grow: doubling would be a waste.
            part.reserve_exact(part.len() / 8 + 1);
        }
        let place = part.partition_point(|(known, _)| *known <= hash);
        part.insert(place, (hash, value));
        self.len += 1;
    }

    /// The value that is meant, to be changed.
    pub(super) fn get_mut(&mut self, hash: u64, meant: impl Fn(&V) -> bool) -> Option<&mut V> {
        let (at, place) = self.position(hash, meant)?;
        Some(&mut Arc::make_mut(&mut self.parts[at]).0[place].1)
    }

    pub(super) fn remove(&mut self, hash: u64, meant: impl Fn(&V) -> bool) -> Option<V> {
        let (at, place) = self.position(hash, meant)?;
        self.len -= 1;
        Some(Arc::make_mut(&mut self.parts[at]).0.remove(place).1)
    }

    fn position(&self, hash: u64, meant: impl Fn(&V) -> bool) -> Option<(usize, usize)> {
        let at = self.part(hash);
        let part = &self.parts.get(at)?.0;
        let from = part.partition_point(|(known, _)| *known < hash);
        let same = part[from..].iter().take_while(|(known, _)| *known == hash);
        let place = same.map(|(_, value)| value).position(meant)?;
        Some((at, from + place))
    }

    fn part(&self, hash: u64) -> usize {
        let bits = self.parts.len().checked_ilog2().unwrap_or(0);
        // All 64 bits away is no shift but leaves nothing, which is what is meant.
        let upper = hash.checked_shr(u64::BITS - bits).unwrap_or(0);
        usize::try_from(upper).unwrap_or(0)
    }

    fn split(&mut self) {
        if self.parts.is_empty() {
            self.parts.push(Arc::new(Part(Vec::new())));
            return;
        }
        let bit = u64::BITS - 1 - self.parts.len().ilog2();
        let mut parts = Vec::with_capacity(self.parts.len() * 2);
        for mut part in self.parts.drain(..) {
            let lower = &mut Arc::make_mut(&mut part).0;
            let first = lower.partition_point(|(hash, _)| hash >> bit & 1 == 0);
            let upper = lower.split_off(first);
            lower.shrink_to_fit();
            parts.push(part);
            parts.push(Arc::new(Part(upper)));
        }
        self.parts = parts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Few hashes at both ends, so that values meet in one place and parts are of unequal size.
    fn hash(number: u32) -> u64 {
        u64::from(number % 1500).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn all(table: &Table<u32>) -> Vec<u32> {
        let mut all: Vec<u32> = table.iter().copied().collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn values_are_found_and_taken_out_again() {
        let mut table = Table::default();
        assert_eq!(table.of(7).count(), 0);
        for number in 0..3000 {
            table.insert(hash(number), number);
        }
        for number in 0..3000 {
            let found: Vec<u32> = table.of(hash(number)).copied().collect();
            assert_eq!(found, [number % 1500, number % 1500 + 1500]);
        }
        for number in (0..3000).step_by(2) {
            let meant = |known: &u32| *known == number;
            assert_eq!(table.remove(hash(number), meant), Some(number));
            assert_eq!(table.remove(hash(number), meant), None);
        }
        let odd: Vec<u32> = (0..3000).filter(|number| number % 2 == 1).collect();
        assert_eq!(all(&table), odd);
    }

    #[test]
    fn a_copy_does_not_see_changes_and_shares_the_rest() {
        let mut table = Table::default();
        for number in 0..3000 {
            table.insert(hash(number), number);
        }
        let before = table.clone();
        if let Some(five) = table.get_mut(hash(5), |known| *known == 5) {
            *five = 9999;
        }
        table.insert(hash(6), 9998);
        table.remove(hash(7), |known| *known == 7);
        assert_eq!(all(&before), (0..3000).collect::<Vec<u32>>());
        let mut expected: Vec<u32> = (0..3000).filter(|n| ![5, 7].contains(n)).collect();
        expected.extend([9998, 9999]);
        assert_eq!(all(&table), expected);
        let parts = before.parts.iter().zip(&table.parts);
        let differ = parts.filter(|(a, b)| !Arc::ptr_eq(a, b)).count();
        assert!(differ <= 3 && table.parts.len() >= 8, "{differ} differ");
    }
}
