//! Bytes as fast as they go, counted where they arrive.

use super::crew::{self, sleep_until};
use super::order::{Bulk, Direction};
use super::times::per_second;
use crate::clients::Target;
use crate::pattern::write_pattern;
use crate::result::Tally;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

const CHUNK: usize = 256 * 1024;

/// What one connection carried, and when its last byte had arrived.
struct Carried {
    bytes: u64,
    ended: Instant,
}

/// One measurement.
pub(super) fn run(target: &Target, plan: &Bulk, tally: &mut Tally) -> Result<()> {
    let mut lines = Vec::new();
    for _ in 0..plan.connections {
        lines.push(open(target, plan.direction)?);
    }
    let began = crew::beginning();
    let outcomes = crew::work(lines, |stream| {
        sleep_until(began);
        let bytes = match plan.direction {
            Direction::Up => send(&stream, began + plan.lasting)?,
            Direction::Down => receive(&stream, plan.lasting)?,
        };
        let ended = Instant::now();
        Ok(Carried { bytes, ended })
    })?;
    let (mut bytes, mut ended, mut whole) = (0, began, true);
    for outcome in outcomes {
        match tally.record(outcome) {
            Some(one) => {
                bytes += one.bytes;
                ended = ended.max(one.ended);
            }
            None => whole = false,
        }
    }
    tally.note("bytes", bytes);
    if whole {
        let seconds = ended.saturating_duration_since(began).as_secs_f64();
        tally.note("seconds", seconds);
        tally.note("gbit_per_s", per_second(bytes * 8, seconds) / 1e9);
    }
    Ok(())
}

/// A connection whose server waits for the beginning.
fn open(target: &Target, direction: Direction) -> Result<TcpStream> {
    let stream = target.connect()?;
    let order: &[u8] = match direction {
        Direction::Up => b"SINK\n",
        Direction::Down => b"SOURCE\n",
    };
    (&stream).write_all(order).context("send")?;
    let said = line(&stream).context("the server's first word")?;
    ensure!(said == "ready", "the server says {said:?}, not ready");
    Ok(stream)
}

/// The other side says no more than this line now.
fn line(stream: &TcpStream) -> Result<String> {
    let mut text = String::new();
    BufReader::new(stream).read_line(&mut text)?;
    Ok(text.trim_end().to_owned())
}

/// Sends until then; what has arrived, by the server's count.
fn send(mut stream: &TcpStream, over: Instant) -> Result<u64> {
    let mut chunk = Vec::new();
    write_pattern(&mut chunk, 1, CHUNK as u64)?;
    let mut sent = 0;
    while Instant::now() < over {
        stream.write_all(&chunk).context("send")?;
        sent += chunk.len() as u64;
    }
    stream.shutdown(Shutdown::Write)?;
    let arrived = line(stream).context("the server's count")?;
    ensure!(
        arrived == sent.to_string(),
        "sent {sent} bytes, arrived {arrived:?}"
    );
    Ok(sent)
}

/// Has the server send for so long; what has arrived at its end.
fn receive(mut stream: &TcpStream, lasting: Duration) -> Result<u64> {
    let order = format!("{}\n", lasting.as_millis());
    stream.write_all(order.as_bytes()).context("send")?;
    let mut chunk = vec![0; CHUNK];
    let mut arrived = 0;
    loop {
        match stream.read(&mut chunk).context("receive")? {
            0 => return Ok(arrived),
            size => arrived += size as u64,
        }
    }
}
