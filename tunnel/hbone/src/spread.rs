//! Where numbers that are given in a row land in a table.

use std::hash::{BuildHasherDefault, Hasher};

/// For tables by numbers that are given in a row. A peer can choose those of its streams, of which a tunnel has a few
/// hundred: too few for it to gain anything by having them land in one place.
pub type Spread = BuildHasherDefault<SpreadHasher>;

/// The hasher of [`Spread`].
#[derive(Debug, Default)]
pub struct SpreadHasher(u64);

impl Hasher for SpreadHasher {
    fn finish(&self) -> u64 {
        // A table looks at the low bits, which depend on the low bits alone.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        // The golden ratio's fraction (Knuth, TAOCP 6.4): neighbours land far apart, in all bits.
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
