//! `podkit load`: new connections at a rate that no waiting slows down, beside long-lived ones, until told to stop.

mod clock;
mod drive;
mod fresh;
mod line;
mod report;
mod steady;

use crate::args::Args;
use crate::limits;
use crate::pause::block_signals;
use anyhow::{Result, ensure};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// What kind of load.
struct Options {
    to: SocketAddr,
    /// A text that is in everything that is sent.
    marker: String,
    /// New connections a second.
    rate: u32,
    /// Long-lived connections; the last one is silent.
    keep: u32,
    /// Between two messages of a long-lived connection.
    every: Duration,
    /// For one new connection, from its beginning to the other side's FIN.
    limit: Duration,
    /// All of it, if nobody says stop.
    lasting: Duration,
}

/// Runs a load; prints a line when the long-lived connections are there, and the report at the end.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let mut args = Args::parse(words, &[])?;
    let millis = |args: &mut Args, key, default| args.take(key, default).map(Duration::from_millis);
    let options = Options {
        to: args.require("to")?,
        marker: args.take("marker", "load".to_owned())?,
        rate: args.take("rate", 200)?,
        keep: args.take("keep", 20)?,
        every: millis(&mut args, "every-ms", 100)?,
        limit: millis(&mut args, "limit-ms", 10_000)?,
        lasting: Duration::from_secs(args.take("seconds", 60)?),
    };
    args.finish()?;
    ensure!(options.rate > 0, "--rate is at least 1");
    limits::raise_descriptors()?;
    let signals = block_signals()?;
    let mut drive = drive::Drive::new(&options, &signals)?;
    drive.settle()?;
    let report = drive.run()?;
    crate::say(&report.to_string());
    Ok(ExitCode::from(u8::from(report["ok"] != true)))
}

#[cfg(test)]
mod tests;
