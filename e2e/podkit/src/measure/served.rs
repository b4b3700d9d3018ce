//! The server's side of bulk measurements: no hashing, which would be measured too.

use crate::pattern::write_pattern;
use anyhow::{Context, Result};
use std::io::{BufRead, Read, Write};
use std::time::{Duration, Instant};

const CHUNK: usize = 256 * 1024;
const READY: &[u8] = b"ready\n";

/// Takes bytes to their end, then says how many came.
pub(crate) fn sink(reader: &mut impl Read, writer: &mut impl Write) -> Result<()> {
    writer.write_all(READY)?;
    let mut chunk = vec![0; CHUNK];
    let mut arrived = 0;
    loop {
        match reader.read(&mut chunk)? {
            0 => break,
            size => arrived += size as u64,
        }
    }
    writer.write_all(format!("{arrived}\n").as_bytes())?;
    Ok(())
}

/// Waits for a line with a number of milliseconds, then sends for so long.
pub(crate) fn source(reader: &mut impl BufRead, writer: &mut impl Write) -> Result<()> {
    writer.write_all(READY)?;
    let mut chunk = Vec::new();
    write_pattern(&mut chunk, 1, CHUNK as u64)?;
    let mut text = String::new();
    reader.read_line(&mut text)?;
    let lasting = text.trim().parse().map(Duration::from_millis);
    let lasting = lasting.with_context(|| format!("not a number of milliseconds: {text:?}"))?;
    let began = Instant::now();
    while began.elapsed() < lasting {
        writer.write_all(&chunk)?;
    }
    Ok(())
}
