//! Bulk data that both sides can make from a seed, and its hash.

use aws_lc_rs::digest::{Context, Digest, SHA256};
use std::fmt::Write as _;
use std::io::{Read, Write};

const CHUNK: usize = 64 * 1024;

/// A pseudo-random byte stream: cheap, incompressible, same for the same seed.
pub(crate) struct Pattern(u64);

impl Pattern {
    /// A stream for a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    fn fill(&mut self, chunk: &mut [u8]) {
        for piece in chunk.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let bytes = self.0.to_le_bytes();
            piece.copy_from_slice(&bytes[..piece.len()]);
        }
    }
}

/// Writes `count` bytes of the pattern and returns the hash of what was written.
pub(crate) fn write_pattern(
    out: &mut impl Write,
    seed: u64,
    count: u64,
) -> std::io::Result<String> {
    let (mut pattern, mut hash, mut left) = (Pattern::new(seed), Context::new(&SHA256), count);
    let mut chunk = vec![0; CHUNK];
    while left > 0 {
        let size = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        pattern.fill(&mut chunk[..size]);
        out.write_all(&chunk[..size])?;
        hash.update(&chunk[..size]);
        left -= size as u64;
    }
    Ok(hex(&hash.finish()))
}

/// Reads to the end of the stream; returns the number of bytes and their hash.
pub(crate) fn read_and_hash(input: &mut impl Read) -> std::io::Result<(u64, String)> {
    let (mut hash, mut total) = (Context::new(&SHA256), 0);
    let mut chunk = vec![0; CHUNK];
    loop {
        match input.read(&mut chunk)? {
            0 => return Ok((total, hex(&hash.finish()))),
            size => {
                hash.update(&chunk[..size]);
                total += size as u64;
            }
        }
    }
}

fn hex(digest: &Digest) -> String {
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
