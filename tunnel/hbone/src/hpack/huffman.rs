//! Reads strings in the Huffman code of RFC 7541 Appendix B.
//!
//! The code is canonical: codes are in order of their length, and those of one length in order of
//! their symbols. The lengths say all; the tables are made of them by the compiler, about 1 KiB.
//! Eight bits hold any code of the usual text, and find it at once. Longer ones look for the first
//! length whose codes end above them.

use super::Malformed;

/// The longest code.
const LONGEST: usize = 30;

/// How many bits each byte takes. What codes are left, 30 ones alone, is the end of the string,
/// which must not be written (5.2).
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

struct Tables {
    /// The symbol and the length of the code that eight bits begin with; 0 if it is longer.
    short: [(u8, u8); 256],
    /// All symbols in order of their codes.
    symbols: [u8; 256],
    /// Where the codes of a length end, as the high bits of 32. Those of the next begin there.
    ends: [u32; LONGEST + 1],
    /// How many symbols have shorter codes.
    before: [usize; LONGEST + 1],
}

static TABLES: Tables = build();

#[allow(
    clippy::cast_possible_truncation,
    reason = "numbers below 256, and the compiler runs it"
)]
const fn build() -> Tables {
    let mut tables = Tables {
        short: [(0, 0); 256],
        symbols: [0; 256],
        ends: [0; LONGEST + 1],
        before: [0; LONGEST + 1],
    };
    let (mut length, mut end, mut count) = (1, 0_u32, 0);
    while length <= LONGEST {
        tables.before[length] = count;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                let begin = end >> 24;
                end += 1 << (32 - length);
                tables.symbols[count] = symbol as u8;
                count += 1;
                let mut byte = begin as usize;
                while length <= 8 && byte < (end >> 24) as usize {
                    tables.short[byte] = (symbol as u8, length as u8);
                    byte += 1;
                }
            }
            symbol += 1;
        }
        tables.ends[length] = end;
        length += 1;
    }
    tables
}

/// The symbol and the length of a code of more than eight bits; `bits` begins with it.
fn long(bits: u32) -> Result<(u8, u32), Malformed> {
    let mut begin = 0;
    for (length, (&end, &before)) in (0_u32..).zip(TABLES.ends.iter().zip(&TABLES.before)) {
        if bits < end {
            let place = usize::try_from((bits - begin) >> (32 - length));
            let symbol = place.ok().and_then(|p| TABLES.symbols.get(before + p));
            return Ok((*symbol.ok_or(Malformed)?, length));
        }
        begin = end;
    }
    // Thirty ones: the end of the string.
    Err(Malformed)
}

/// Adds the text of `coded` to `out`.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    // No code is shorter than five bits.
    out.reserve(coded.len() * 8 / 5);
    let mut bytes = coded.iter();
    // The next bits, from the highest, and how many there are; zeros follow them.
    let (mut bits, mut have) = (0_u64, 0_u32);
    loop {
        if have < 32 {
            for byte in bytes.by_ref().take(4) {
                bits |= u64::from(*byte) << (56 - have);
                have += 8;
            }
        }
        // Less than a byte of ones is what fills the last byte (5.2); no code is as short as
        // that and all ones.
        if have < 8 && bits.leading_ones() == have {
            return Ok(());
        }
        let [first, second, third, fourth, ..] = bits.to_be_bytes();
        let (symbol, length) = match TABLES.short[usize::from(first)] {
            (_, 0) => long(u32::from_be_bytes([first, second, third, fourth]))?,
            (symbol, length) => (symbol, u32::from(length)),
        };
        // A code that is cut off, or other bits than ones at the end.
        have = have.checked_sub(length).ok_or(Malformed)?;
        bits <<= length;
        out.push(symbol);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn text(coded: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    /// The code of a symbol as the high bits, made without the tables.
    fn code(symbol: u8) -> (u32, u8) {
        let length = LENGTHS[usize::from(symbol)];
        let before = (0..=255_u8).filter(|&other| {
            let its = LENGTHS[usize::from(other)];
            (its, other) < (length, symbol)
        });
        let code = before
            .map(|other| 1 << (32 - LENGTHS[usize::from(other)]))
            .sum();
        (code, length)
    }

    #[test]
    fn the_code_leaves_the_end_of_the_string_alone() {
        assert_eq!(TABLES.ends[LONGEST], u32::MAX << 2);
        // Some codes as the standard prints them, of several lengths.
        for (symbol, bits) in [
            (b'0', 0x0),
            (b' ', 0x14),
            (b':', 0x5c),
            (b'X', 0xfc),
            (b'!', 0x3f8),
            (0, 0x1ff8),
            (b'\\', 0x7_fff0),
            (128, 0xf_ffe6),
            (255, 0x3ff_ffee),
            (249, 0xfff_fffe),
            (22, 0x3fff_fffe),
        ] {
            let (code, length) = code(symbol);
            assert_eq!(code >> (32 - length), bits, "{symbol}");
        }
    }

    #[test]
    fn every_symbol_comes_back_with_every_padding() {
        for symbol in 0..=255 {
            // Behind up to seven zeros ("0" is five, space and "a" are others).
            for ahead in [&b""[..], b"0", b"00", b"0-", b"0X", b"a!0", b"?", b"#1"] {
                let (mut bits, mut have) = (0_u64, 0_u32);
                for &one in ahead.iter().chain([&symbol]) {
                    let (code, length) = code(one);
                    bits |= u64::from(code) << 32 >> have;
                    have += u32::from(length);
                }
                bits |= u64::MAX >> have;
                let coded = bits.to_be_bytes();
                let used = usize::try_from(have.div_ceil(8)).unwrap();
                let wanted = [ahead, &[symbol]].concat();
                assert_eq!(text(&coded[..used]), Ok(wanted));
                assert_eq!(text(&[&coded[..used], &[0xff]].concat()), Err(Malformed));
                if have % 8 != 0 {
                    let cut = bits & !(u64::MAX >> have);
                    assert_ne!(
                        text(&cut.to_be_bytes()[..used]),
                        Ok([ahead, &[symbol]].concat())
                    );
                }
            }
        }
    }

    #[test]
    fn what_the_standard_forbids() {
        assert_eq!(text(&[]), Ok(Vec::new()));
        for bad in [
            &[0xff][..],
            // "0", then three zeros; "0", then more than seven ones.
            &[0x00],
            &[0x07, 0xff],
            // The end of the string: alone, with other bits behind it, and behind "a".
            &[0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xfc],
            &[0x1f, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(text(bad), Err(Malformed), "{bad:x?}");
        }
        assert_eq!(text(&[0x07]), Ok(b"0".to_vec()));
    }
}
