//! Blocks by chance, the same ones each time: read what we wrote, and what nobody should write.

use super::super::Encoder;
use super::{Decoder, Fields, fields};

/// Numbers that look random (Marsaglia's xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    fn text(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.byte()).collect()
    }
}

/// Adds some fields to a block, as a tunnel would and otherwise; few of them are `long`.
fn write(chance: &mut Chance, encoder: &mut Encoder, long: usize, out: &mut Vec<u8>) -> Fields {
    const NAMES: [&[u8]; 8] = [
        b":method",
        b":authority",
        b":status",
        b"baggage",
        b"traceparent",
        b"forwarded",
        b"via",
        b"",
    ];
    encoder.begin(out);
    let mut written = Fields::new();
    for _ in 0..chance.below(8) {
        let name = NAMES[chance.below(NAMES.len())];
        let again = chance.below(3) > 0;
        let value = if again {
            format!("value {}", chance.below(40)).into_bytes()
        } else {
            let most = if chance.below(20) == 0 {
                long
            } else {
                long / 30
            };
            chance.text(most)
        };
        if chance.below(2) == 0 {
            encoder.repeated(name, &value, out);
        } else {
            encoder.changing(name, &value, out);
        }
        written.push((name.to_vec(), value));
    }
    written
}

#[test]
fn what_is_written_is_read_and_the_tables_stay_in_step() {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(1 << 20));
    let mut out = Vec::new();
    for _ in 0..10_000 {
        for _ in 0..chance.below(4).saturating_sub(1) {
            let limits = [0, 31, 100, 1000, 2048, 3000, 4096, 1 << 20];
            encoder.limit_table(limits[chance.below(limits.len())]);
        }
        out.clear();
        let written = write(&mut chance, &mut encoder, 3000, &mut out);
        assert!(fields(&mut decoder, &out) == written);
        let (ours, its) = (encoder.table(), decoder.table());
        assert_eq!((ours.len(), ours.size()), (its.len(), its.size()));
        assert_eq!(ours.most(), its.most());
        assert!(ours.most() <= 2048);
    }
}

#[test]
fn a_changed_size_is_said_first() {
    const OURS: [u8; 3] = [0x3f, 0xe1, 0x0f];
    let mut encoder = Encoder::new();
    let mut begin = |limits: &[u32]| {
        let mut out = Vec::new();
        for limit in limits {
            encoder.limit_table(*limit);
        }
        encoder.begin(&mut out);
        out
    };
    assert_eq!(begin(&[]), OURS, "our own bound");
    assert!(begin(&[]).is_empty());
    assert!(begin(&[4096]).is_empty());
    assert_eq!(begin(&[0]), [0x20]);
    assert!(begin(&[0]).is_empty());
    assert_eq!(begin(&[100]), [0x3f, 0x45]);
    assert_eq!(begin(&[10, 0, 4096]), [&[0x20][..], &OURS].concat());
    assert_eq!(begin(&[3000]), OURS, "it waits for that");
    assert_eq!(begin(&[u32::MAX]), OURS);
}

#[test]
fn a_name_is_entered_again_when_it_was_driven_out() {
    let mut encoder = Encoder::new();
    let mut out = Vec::new();
    let mut size = |name: &[u8], value: &[u8], again: bool| {
        out.clear();
        if again {
            encoder.repeated(name, value, &mut out);
        } else {
            encoder.changing(name, value, &mut out);
        }
        out.len()
    };
    assert_eq!(size(b"traceparent", b"1", false), 1 + 12 + 2);
    assert_eq!(size(b"traceparent", b"2", false), 2 + 2);
    for n in 0..60 {
        let value = [n; 100];
        assert_eq!(size(b":authority", &value, true), 1 + 101);
        assert_eq!(size(b":authority", &value, true), 1);
    }
    assert_eq!(size(b"traceparent", b"3", false), 1 + 12 + 2);
    assert_eq!(size(b"traceparent", b"4", false), 2 + 2);
    // What is too large for the table is the same each time.
    for _ in 0..2 {
        assert_eq!(size(b"baggage", &[0; 3000], true), 1 + 8 + 3 + 3000);
        assert_eq!(size(b"baggage", &[1; 3000], false), 1 + 8 + 3 + 3000);
    }
}

#[test]
fn no_block_harms() {
    let mut chance = Chance(0x2545_f491_4f6c_dd1d);
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new(4096));
    let mut block = Vec::new();
    let mut right = 0;
    for _ in 0..100_000 {
        block.clear();
        if chance.below(2) == 0 {
            write(&mut chance, &mut encoder, 300, &mut block);
            if chance.below(4) == 0 {
                block.truncate(chance.below(200));
            }
            for _ in 0..chance.below(4).saturating_sub(1) {
                let place = chance.below(block.len() + 1);
                match block.get_mut(place) {
                    Some(byte) => *byte ^= 1 << chance.below(8),
                    None => block.push(chance.byte()),
                }
            }
        } else {
            block = chance.text(40);
        }
        let most = chance.below(500);
        let mut given = 0;
        let size = decoder.decode(&block, most, |name, value| {
            given += name.len() + value.len() + 32;
        });
        assert!(given <= most);
        assert!(decoder.table().size() <= decoder.table().most());
        assert!(decoder.table().most() <= 4096);
        if size.is_ok() {
            right += 1;
        } else {
            (encoder, decoder) = (Encoder::new(), Decoder::new(4096));
        }
    }
    assert!(
        right > 20_000,
        "only {right} were right: not much was tried"
    );
}
