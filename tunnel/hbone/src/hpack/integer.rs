//! The bytes of a block as they are read, and numbers of any size with a prefix (RFC 7541 5.1).

use super::Malformed;

/// What is left of a block.
#[derive(Debug)]
pub(super) struct Input<'b>(pub(super) &'b [u8]);

impl<'b> Input<'b> {
    /// The next byte, which stays.
    pub(super) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: usize) -> Result<&'b [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A number that begins in those bits of the next byte that `mask` shows. Nothing that we
    /// read needs more than 32 bits, so neither value nor length of a number has to be endless.
    pub(super) fn integer(&mut self, mask: u8) -> Result<usize, Malformed> {
        let prefix = self.byte()? & mask;
        if prefix < mask {
            return Ok(usize::from(prefix));
        }
        let mut value = u64::from(mask);
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            value += u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let value = u32::try_from(value).map_err(|_| Malformed)?;
                return usize::try_from(value).map_err(|_| Malformed);
            }
        }
        Err(Malformed)
    }
}

/// Writes a number behind a pattern.
pub(super) fn write((pattern, mask): (u8, u8), value: usize, out: &mut Vec<u8>) {
    if let Ok(small) = u8::try_from(value)
        && small < mask
    {
        out.push(pattern | small);
        return;
    }
    out.push(pattern | mask);
    let mut left = value.saturating_sub(usize::from(mask));
    // The low bits of each byte; the cut is what is wanted.
    while left >= 0x80 {
        let [low, ..] = left.to_le_bytes();
        out.push(low | 0x80);
        left >>= 7;
    }
    let [low, ..] = left.to_le_bytes();
    out.push(low);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn read(bytes: &[u8], mask: u8) -> Result<usize, Malformed> {
        Input(bytes).integer(mask)
    }

    #[test]
    fn the_examples_of_the_standard() {
        for (value, mask, bytes) in [
            (10, 0x1f, &[10][..]),
            (1337, 0x1f, &[31, 154, 10]),
            (42, 0xff, &[42]),
        ] {
            let mut out = Vec::new();
            write((0, mask), value, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(read(bytes, mask), Ok(value));
        }
    }

    #[test]
    fn every_size_comes_back() {
        for mask in [0x0f, 0x1f, 0x3f, 0x7f] {
            for shift in 0..32 {
                for value in [(1_u32 << shift) - 1, 1 << shift, u32::MAX >> shift] {
                    let value = usize::try_from(value).unwrap();
                    let mut out = Vec::new();
                    write((!mask, mask), value, &mut out);
                    assert_eq!(out[0] & !mask, !mask);
                    assert_eq!(read(&out, mask), Ok(value));
                    assert_eq!(read(&out[..out.len() - 1], mask), Err(Malformed));
                }
            }
        }
    }

    #[test]
    fn neither_large_nor_endless() {
        assert!(read(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f], 0x7f).is_err());
        assert!(read(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0], 0x7f).is_err());
        assert!(read(&[], 0x7f).is_err());
        assert!(read(&[0x7f], 0x7f).is_err());
    }
}
