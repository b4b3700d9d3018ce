//! `podkit call`: the verbs, their options and their result line.

use crate::args::Args;
use crate::clients::{self, Target};
use crate::result::Tally;
use crate::tls;
use anyhow::{Context, Result, bail};
use rustls_pki_types::ServerName;
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Runs one verb and prints its line.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let Some((verb, rest)) = words.split_first() else {
        bail!("which verb? See podkit help");
    };
    let mut args = Args::parse(rest, &["reconnect"])?;
    let address = resolve(&args.require::<String>("to")?)?;
    let timeout = Duration::from_millis(args.take("timeout-ms", 5_000)?);
    let target = Target { address, timeout };
    let mut tally = Tally::default();
    match verb.as_str() {
        "http" => http(&target, args, &mut tally)?,
        "latency" => latency(&target, args, &mut tally)?,
        "banner" => banner(&target, args, &mut tally)?,
        "tls" => own_tls(&target, args, &mut tally)?,
        "bulk" => bulk(&target, args, &mut tally)?,
        "half-close" => half_close(&target, args, &mut tally)?,
        "hold" => hold(&target, args, &mut tally)?,
        "stream" => stream(&target, args, &mut tally)?,
        _ => bail!("unknown verb {verb}; see podkit help"),
    }
    Ok(tally.print(verb, &address.to_string()))
}

/// An address, or the first one that a name stands for.
fn resolve(target: &str) -> Result<SocketAddr> {
    let mut found = target
        .to_socket_addrs()
        .with_context(|| format!("resolving {target}"))?;
    found
        .next()
        .with_context(|| format!("{target} stands for no address"))
}

/// What the answer says about who answered, and whom it saw.
fn note_answer(tally: &mut Tally, answer: &serde_json::Value) {
    for key in ["host", "peer", "local"] {
        if let Some(text) = answer[key].as_str() {
            // The port differs per connection; the address is what a test asks about.
            let text = text
                .parse()
                .map_or(text.to_owned(), |addr: SocketAddr| addr.ip().to_string());
            tally.note_distinct(key, &text);
        }
    }
}

fn http(target: &Target, mut args: Args, tally: &mut Tally) -> Result<()> {
    let (count, path) = (args.take("count", 1)?, args.take("path", "/".to_owned())?);
    args.finish()?;
    for _ in 0..count {
        let outcome = target
            .connect()
            .and_then(|mut stream| clients::get(&mut stream, &path));
        if let Some(answer) = tally.record(outcome) {
            note_answer(tally, &answer);
        }
    }
    Ok(())
}

fn latency(target: &Target, mut args: Args, tally: &mut Tally) -> Result<()> {
    let (count, warmup): (u32, u32) = (args.take("count", 1000)?, args.take("warmup", 50)?);
    let reconnect = args.flag("reconnect");
    args.finish()?;
    let mut line = None;
    let mut times = Vec::new();
    for turn in 0..warmup + count {
        let start = Instant::now();
        let outcome = match line.take() {
            Some(stream) if !reconnect => Ok(stream),
            _ => target.connect(),
        }
        .and_then(|mut stream| clients::get(&mut stream, "/").map(|_| stream));
        let took = start.elapsed();
        if turn < warmup {
            line = outcome.ok();
        } else if let Some(stream) = tally.record(outcome) {
            times.push(u64::try_from(took.as_nanos())?);
            line = Some(stream);
        }
    }
    times.sort_unstable();
    for (name, per_mille) in [
        ("p50_us", 500),
        ("p90_us", 900),
        ("p99_us", 990),
        ("max_us", 1000),
    ] {
        let rank = (times.len() * per_mille).div_ceil(1000).max(1) - 1;
        if let Some(nanos) = times.get(rank) {
            let tenths = nanos / 100;
            tally.note(
                name,
                f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0,
            );
        }
    }
    tally.note("reconnect", reconnect);
    Ok(())
}

fn banner(target: &Target, mut args: Args, tally: &mut Tally) -> Result<()> {
    let (count, text) = (
        args.take("count", 1)?,
        args.take("say", "hello".to_owned())?,
    );
    args.finish()?;
    for _ in 0..count {
        if let Some(greeting) = tally.record(clients::banner(target, &text)) {
            tally.note_distinct("greeting", &greeting);
        }
    }
    Ok(())
}

fn own_tls(target: &Target, mut args: Args, tally: &mut Tally) -> Result<()> {
    let (count, path) = (args.take("count", 1)?, args.take("path", "/".to_owned())?);
    let name = ServerName::try_from(args.take("name", "podkit.test".to_owned())?)?;
    args.finish()?;
    let config = tls::client()?;
    for _ in 0..count {
        if let Some(answer) = tally.record(clients::get_over_tls(target, &config, &name, &path)) {
            note_answer(tally, &answer);
        }
    }
    Ok(())
}

fn bulk(target: &Target, mut args: Args, tally: &mut Tally) -> Result<()> {
    let bytes: u64 = args.take("bytes", 1_000_000)?;
    let direction: String = args.take("direction", "up".to_owned())?;
    args.finish()?;
    let start = Instant::now();
    let outcome = match direction.as_str() {
        "up" => clients::upload(target, bytes),
        "down" => clients::download(target, bytes),
        _ => bail!("--direction is up or down"),
    };
    if let Some(hash) = tally.record(outcome) {
        tally.note("sha256", hash);
        tally.note("bytes", bytes);
        tally.note("milliseconds", u64::try_from(start.elapsed().as_millis())?);
    }
    Ok(())
}

fn half_close(target: &Target, mut args: Args, tally: &mut Tally) -> Result<()> {
    let bytes = args.take("bytes", 1000)?;
    args.finish()?;
    tally.record(clients::half_close(target, bytes));
    Ok(())
}

fn hold(target: &Target, mut args: Args, tally: &mut Tally) -> Result<()> {
    let seconds = args.take("seconds", 1)?;
    args.finish()?;
    tally.record(clients::hold(target, Duration::from_secs(seconds)));
    Ok(())
}

fn stream(target: &Target, mut args: Args, tally: &mut Tally) -> Result<()> {
    let lasting = Duration::from_secs(args.take("seconds", 1)?);
    let every = Duration::from_millis(args.take("interval-ms", 20)?);
    args.finish()?;
    if let Some(run) = tally.record(clients::stream(target, lasting, every)) {
        tally.note("messages", run.messages);
        tally.note(
            "longest_wait_ms",
            u64::try_from(run.longest_wait.as_millis())?,
        );
    }
    Ok(())
}
