//! The access log: one line per connection, one per early refusal.
//!
//! Lines are put together in a buffer that each thread keeps, from parts rendered when the label
//! set was resolved, and handed to the writer's queue with one copy.

use std::cell::RefCell;
use std::fmt::{Display, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use tracing::Level;

use crate::connection::Direction;
use crate::format::LogFormat;
use crate::labels::LogParts;
use crate::text::{Escaping, Quotes, push_number, push_quoted};
use crate::writer::Urgency;
use crate::{EarlyRefusal, Telemetry};

/// The target under which access lines are logged.
pub(crate) const TARGET: &str = "access";

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs `fill` on this thread's line buffer. A `Display` that logs while it is being logged gets a
/// buffer of its own.
pub(crate) fn with_line(fill: impl FnOnce(&mut String)) {
    LINE.with(|line| match line.try_borrow_mut() {
        Ok(mut line) => {
            line.clear();
            fill(&mut line);
        }
        Err(_) => fill(&mut String::new()),
    });
}

/// What an access line says about a connection.
pub(crate) struct Facts<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) hbone_target: Option<SocketAddr>,
    pub(crate) parts: &'a LogParts,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_recv: u64,
}

/// How the line ends.
pub(crate) enum Ending<'a> {
    /// In order.
    Complete,
    /// With an error; `decided_by` is empty unless it was a decision.
    Error {
        /// What happened.
        error: &'a str,
        /// Whose decision it was.
        decided_by: &'a str,
    },
}

impl Ending<'_> {
    pub(crate) fn level(&self) -> Level {
        match self {
            Self::Complete => Level::INFO,
            Self::Error { .. } => Level::ERROR,
        }
    }
}

/// `connection opened`, for whoever watches at debug level.
pub(crate) fn opened(telemetry: &Telemetry, facts: &Facts<'_>) {
    let shared = telemetry.shared();
    let format = shared.format;
    with_line(|line| {
        format.begin(line, SystemTime::now(), Level::DEBUG, TARGET);
        format.message(line, "connection opened");
        push_parties(format, line, facts);
        format.end(line);
        shared.queue.push(line, Urgency::Batched);
    });
}

/// `connection complete`, exactly one for every connection that was opened.
pub(crate) fn complete(
    telemetry: &Telemetry,
    facts: &Facts<'_>,
    took: Duration,
    ending: &Ending<'_>,
) {
    let shared = telemetry.shared();
    let format = shared.format;
    with_line(|line| {
        format.begin(line, SystemTime::now(), ending.level(), TARGET);
        format.message(line, "connection complete");
        push_parties(format, line, facts);
        format.push_key(line, "bytes_sent");
        push_number(line, facts.bytes_sent);
        format.push_key(line, "bytes_recv");
        push_number(line, facts.bytes_recv);
        format.push_key(line, "duration");
        line.push('"');
        push_number(line, u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        line.push_str("ms\"");
        if let Ending::Error { error, decided_by } = ending {
            push_error(format, line, error, decided_by);
        }
        format.end(line);
        shared.queue.push(line, Urgency::Batched);
    });
}

/// `connection failed`: refused before it was known who talks to whom.
pub(crate) fn early_refusal(
    telemetry: &Telemetry,
    direction: Direction,
    source: SocketAddr,
    destination: SocketAddr,
    refusal: &EarlyRefusal<'_>,
) {
    let shared = telemetry.shared();
    let format = shared.format;
    with_line(|line| {
        format.begin(line, SystemTime::now(), Level::WARN, TARGET);
        format.message(line, "connection failed");
        push_address(format, line, "src.addr", source);
        push_address(format, line, "dst.addr", destination);
        format.push_key(line, "direction");
        push_quoted(line, direction.label());
        push_error(format, line, refusal.error, refusal.decided_by);
        format.end(line);
        shared.queue.push(line, Urgency::Batched);
    });
}

fn push_parties(format: LogFormat, line: &mut String, facts: &Facts<'_>) {
    push_address(format, line, "src.addr", facts.source);
    format.push_fields(line, &facts.parts.source);
    push_address(format, line, "dst.addr", facts.destination);
    if let Some(target) = facts.hbone_target {
        push_address(format, line, "dst.hbone_addr", target);
    }
    format.push_fields(line, &facts.parts.destination);
}

/// Appends an address; v4 by hand, because the standard formatter pads through a second buffer.
fn push_address(format: LogFormat, line: &mut String, name: &str, address: SocketAddr) {
    format.push_key(line, name);
    let quote = format == LogFormat::Json;
    if quote {
        line.push('"');
    }
    if let SocketAddr::V4(v4) = address {
        for (position, octet) in v4.ip().octets().into_iter().enumerate() {
            if position > 0 {
                line.push('.');
            }
            push_number(line, u64::from(octet));
        }
        line.push(':');
        push_number(line, u64::from(v4.port()));
    } else {
        // Writing into a String cannot fail.
        let _ = write!(line, "{address}");
    }
    if quote {
        line.push('"');
    }
}

fn push_error(format: LogFormat, line: &mut String, error: &dyn Display, decided_by: &str) {
    format.push_key(line, "error");
    line.push('"');
    // Writing into a String cannot fail.
    let _ = write!(Escaping::new(line, Quotes::Escape), "{error}");
    line.push('"');
    if !decided_by.is_empty() {
        format.push_key(line, "decided_by");
        push_quoted(line, decided_by);
    }
}
