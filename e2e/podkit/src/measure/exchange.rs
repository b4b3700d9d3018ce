//! Requests that an echo server answers: on connections that stay, or each on its own.

use super::crew;
use super::order::Exchanges;
use super::pace::Pace;
use super::times::Times;
use crate::clients::Target;
use crate::pattern::write_pattern;
use crate::result::Tally;
use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

/// A request and room for its echo.
pub(super) struct Request {
    sent: Vec<u8>,
    back: Vec<u8>,
}

impl Request {
    /// One of so many bytes.
    pub(super) fn of_size(size: u32) -> Result<Self> {
        let mut sent = Vec::new();
        write_pattern(&mut sent, u64::from(size), u64::from(size))?;
        let back = vec![0; sent.len()];
        Ok(Self { sent, back })
    }

    /// There and back.
    pub(super) fn exchange(&mut self, mut stream: &TcpStream) -> Result<()> {
        stream.write_all(&self.sent).context("send")?;
        stream.read_exact(&mut self.back).context("receive")?;
        ensure!(self.back == self.sent, "came back altered");
        Ok(())
    }

    /// There and back on a connection of its own, which both sides close; tells when the echo was whole.
    fn on_fresh_connection(&mut self, target: &Target) -> Result<Instant> {
        let stream = target.connect()?;
        self.exchange(&stream)?;
        let answered = Instant::now();
        stream.shutdown(Shutdown::Write).context("close")?;
        let rest = (&stream).read(&mut [0]).context("the server's close")?;
        ensure!(rest == 0, "bytes after the echo");
        Ok(answered)
    }
}

/// A connection that has carried a request there and back: from now on it is as fast as it will be.
pub(super) fn warm(target: &Target, request: &mut Request) -> Result<TcpStream> {
    let stream = target.connect()?;
    request.exchange(&stream).context("the first request")?;
    Ok(stream)
}

/// Requests on connections that stay.
pub(super) fn requests(target: &Target, plan: &Exchanges, tally: &mut Tally) -> Result<()> {
    let mut lines = Vec::new();
    for _ in 0..plan.width {
        let mut request = Request::of_size(plan.size)?;
        lines.push((warm(target, &mut request)?, request));
    }
    let pace = Pace::new(crew::beginning(), plan.lasting, plan.rate);
    let outcomes = crew::work(lines, |(stream, mut request)| {
        Times::of(&pace, || {
            request.exchange(&stream)?;
            Ok(Instant::now())
        })
    })?;
    conclude("requests", &pace, outcomes, tally)
}

/// A connection for each request.
pub(super) fn connects(target: &Target, plan: &Exchanges, tally: &mut Tally) -> Result<()> {
    let mut requests = Vec::new();
    for _ in 0..plan.width {
        requests.push(Request::of_size(plan.size)?);
    }
    if let Some(first) = requests.first_mut() {
        // So that what is made once, such as a tunnel, is not counted with any.
        first
            .on_fresh_connection(target)
            .context("the first connection")?;
    }
    let pace = Pace::new(crew::beginning(), plan.lasting, plan.rate);
    let outcomes = crew::work(requests, |mut request| {
        Times::of(&pace, || request.on_fresh_connection(target))
    })?;
    conclude("connections", &pace, outcomes, tally)
}

fn conclude(
    what: &str,
    pace: &Pace,
    outcomes: Vec<Result<Times>>,
    tally: &mut Tally,
) -> Result<()> {
    let mut all = Times::default();
    let mut whole = true;
    for outcome in outcomes {
        match tally.record(outcome) {
            Some(times) => all.merge(times),
            None => whole = false,
        }
    }
    tally.note(what, all.count());
    if whole {
        pace.judge(all.count())?;
        all.note(pace.began(), tally);
    }
    Ok(())
}
