//! What is asked for: parsed at once, so that a mistake is said before anything is connected.

use crate::args::Args;
use crate::clients::Target;
use anyhow::{Context, Result, bail, ensure};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Each has a thread at both ends.
const CONNECTIONS: RangeInclusive<u32> = 1..=2048;
const SECONDS: RangeInclusive<u32> = 1..=300;
/// The echo comes back while the request is still being sent: what is larger than a socket's buffers would block both.
const SIZE: RangeInclusive<u32> = 1..=65_536;
/// 0: no rate.
const RATE: RangeInclusive<u32> = 0..=100_000;

/// A measurement and whom to measure.
pub(super) struct Order {
    /// The server.
    pub(super) target: Target,
    /// The measurement.
    pub(super) plan: Plan,
}

/// A measurement.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Bytes as fast as they go.
    Bulk(Bulk),
    /// Requests on connections that stay.
    Requests(Exchanges),
    /// A connection for each request.
    Connects(Exchanges),
    /// Connections without traffic.
    Idle {
        /// How many.
        connections: u32,
    },
}

/// Which way bulk data goes, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the server.
    Up,
    /// From the server.
    Down,
}

/// Bulk data.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bulk {
    /// All at once.
    pub(super) connections: u32,
    /// Which way.
    pub(super) direction: Direction,
    /// How long.
    pub(super) lasting: Duration,
}

/// Requests with their echo.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exchanges {
    /// How many may be under way at once.
    pub(super) width: u32,
    /// Bytes of each.
    pub(super) size: u32,
    /// How long.
    pub(super) lasting: Duration,
    /// How many are due each second, whether or not the earlier ones are answered; without one, each follows an answer.
    pub(super) rate: Option<u32>,
}

impl Order {
    /// Reads a verb and its options.
    pub(super) fn parse(verb: &str, words: &[String]) -> Result<Self> {
        let mut args = Args::parse(words, &[])?;
        let to: String = args.require("to")?;
        let address: SocketAddr = to
            .parse()
            .with_context(|| format!("--to {to}: give IP:PORT, such as 10.0.0.1:7000"))?;
        let plan = plan(verb, &mut args)?;
        let patience = number(&mut args, "timeout-ms", 5_000, 1..=600_000)?;
        args.finish()?;
        let timeout = Duration::from_millis(u64::from(patience));
        Ok(Self {
            target: Target { address, timeout },
            plan,
        })
    }
}

fn plan(verb: &str, args: &mut Args) -> Result<Plan> {
    Ok(match verb {
        "bulk" => Plan::Bulk(Bulk {
            connections: number(args, "connections", 1, CONNECTIONS)?,
            direction: match args.take("direction", "up".to_owned())?.as_str() {
                "up" => Direction::Up,
                "down" => Direction::Down,
                other => bail!("--direction {other}: say up or down"),
            },
            lasting: lasting(args)?,
        }),
        "requests" => {
            let width = number(args, "connections", 1, CONNECTIONS)?;
            let size = number(args, "size", 128, SIZE)?;
            Plan::Requests(exchanges(args, width, size)?)
        }
        "connects" => {
            let width = number(args, "in-flight", 16, CONNECTIONS)?;
            Plan::Connects(exchanges(args, width, 128)?)
        }
        "idle" => Plan::Idle {
            connections: number(args, "connections", 1000, CONNECTIONS)?,
        },
        _ => bail!("measure {verb}: say bulk, requests, connects or idle"),
    })
}

fn exchanges(args: &mut Args, width: u32, size: u32) -> Result<Exchanges> {
    let rate = number(args, "rate", 0, RATE)?;
    Ok(Exchanges {
        width,
        size,
        lasting: lasting(args)?,
        rate: (rate > 0).then_some(rate),
    })
}

fn lasting(args: &mut Args) -> Result<Duration> {
    let seconds = number(args, "seconds", 3, SECONDS)?;
    Ok(Duration::from_secs(u64::from(seconds)))
}

fn number(args: &mut Args, key: &str, default: u32, range: RangeInclusive<u32>) -> Result<u32> {
    let (least, most) = (*range.start(), *range.end());
    let hint = || format!("give --{key} a number from {least} to {most}");
    let value = args.take(key, default).with_context(hint)?;
    ensure!(range.contains(&value), "--{key} {value}: {}", hint());
    Ok(value)
}
