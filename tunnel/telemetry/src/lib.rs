//! Says what the tunnel did: counters with upstream's names and labels, one access line per
//! connection, and the writer thread that every log line of the process goes through.
//!
//! It refuses to block a connection: a line that finds the queue full is dropped and counted, and
//! label sets are resolved once per connection from bounded tables. It decides nothing, opens no
//! socket and serves no endpoint; peer-controlled text never reaches a line unescaped or a label
//! that could grow without bound.
//!
//! It owns the metric families and their memory, the vocabulary of the access log, and the log
//! queue with its thread.

#![forbid(unsafe_code)]

mod access;
mod connection;
mod counters;
mod encode;
mod events;
mod format;
mod labels;
mod process;
mod series;
mod text;
mod writer;

use std::fmt::{self, Display};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tracing::Level;
use tracing::level_filters::LevelFilter;

pub use connection::{Connection, ConnectionStart, Direction, Outcome, Security};
pub use counters::{Counter, Gauge, PodGauges};
pub use events::EventLayer;
pub use format::LogFormat;
pub use series::SeriesBounds;
pub use text::utc;
pub use writer::{QueueBounds, WriterGuard};

use counters::{Early, Registered};
use series::SeriesTable;
use writer::Queue;

/// What has to be known before the first line is written.
#[derive(Clone, Debug)]
pub struct TelemetrySettings {
    /// Shape of log lines.
    pub format: LogFormat,
    /// `component` and `tag` of `istio_build`.
    pub build: BuildInfo,
    /// Bounds of the log queue.
    pub queue: QueueBounds,
    /// Bounds of the label-set tables.
    pub series: SeriesBounds,
}

/// Labels of `istio_build`.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    /// Which program this is.
    pub component: String,
    /// Its version.
    pub tag: String,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            format: LogFormat::Plain,
            build: BuildInfo {
                component: "ztunnel".to_owned(),
                tag: env!("CARGO_PKG_VERSION").to_owned(),
            },
            queue: QueueBounds::default(),
            series: SeriesBounds::default(),
        }
    }
}

/// A connection that was refused before its parties were known.
#[derive(Clone, Copy)]
pub struct EarlyRefusal<'a> {
    /// The class of refusal: a literal, because it becomes a metric label.
    pub reason: &'static str,
    /// What happened, in words; may carry text of the peer's.
    pub error: &'a dyn Display,
    /// Whose decision it was; empty when it was nobody's (a broken handshake).
    pub decided_by: &'a str,
}

/// Handle to everything that is counted and logged. Cloning it is cheap.
#[derive(Clone)]
pub struct Telemetry {
    shared: Arc<Shared>,
}

struct Shared {
    format: LogFormat,
    build: BuildInfo,
    queue: Queue,
    access_level: AtomicU8,
    series: SeriesTable,
    open_inbound: AtomicI64,
    open_outbound: AtomicI64,
    early: Mutex<Early>,
    registered: Mutex<Vec<Registered>>,
    pods: PodGauges,
    runtimes: Mutex<Vec<tokio::runtime::Handle>>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("format", &self.shared.format)
            .finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Starts the writer thread on standard output.
    ///
    /// # Errors
    /// When the thread cannot be started or standard output cannot be duplicated: the machine is
    /// out of a resource, and starting again later may help.
    pub fn new(settings: TelemetrySettings) -> std::io::Result<(Self, WriterGuard)> {
        use std::os::fd::AsFd;
        // The descriptor itself, because the buffer in front of `Stdout` looks for line ends and
        // may cut a batch in two.
        let descriptor = std::io::stdout().as_fd().try_clone_to_owned()?;
        Self::with_sink(settings, Box::new(std::fs::File::from(descriptor)))
    }

    /// Starts the writer thread on a sink of the caller's.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn with_sink(
        settings: TelemetrySettings,
        sink: Box<dyn Write + Send>,
    ) -> std::io::Result<(Self, WriterGuard)> {
        let TelemetrySettings {
            format,
            build,
            queue: bounds,
            series,
        } = settings;
        let notice = Box::new(move |line: &mut String, lost: u64| drop_notice(format, line, lost));
        let (queue, guard) = writer::start(sink, bounds, notice)?;
        let shared = Arc::new(Shared {
            format,
            build,
            queue,
            access_level: AtomicU8::new(rank(Level::INFO)),
            series: SeriesTable::new(series, format),
            open_inbound: AtomicI64::new(0),
            open_outbound: AtomicI64::new(0),
            early: Mutex::default(),
            registered: Mutex::default(),
            pods: PodGauges::default(),
            runtimes: Mutex::default(),
        });
        Ok((Self { shared }, guard))
    }

    /// Counts a connection as opened and resolves its label set and log fields.
    #[must_use]
    pub fn connection(&self, start: &ConnectionStart) -> Connection {
        Connection::open(self, start)
    }

    /// Counts and logs a connection that was refused before its parties were known.
    pub fn early_refusal(
        &self,
        direction: Direction,
        source: SocketAddr,
        destination: SocketAddr,
        refusal: &EarlyRefusal<'_>,
    ) {
        self.shared.count_early(direction, refusal.reason);
        if self.shared.access_enabled(Level::WARN) {
            access::early_refusal(self, direction, source, destination, refusal);
        }
    }

    /// The least severe level at which access lines are written; `DEBUG` adds a line per opening.
    pub fn set_access_level(&self, level: LevelFilter) {
        let rank = level.into_level().map_or(0, rank);
        self.shared.access_level.store(rank, Ordering::Relaxed);
    }

    /// A layer that sends `tracing` events through the same writer, in the same shape.
    #[must_use]
    pub fn event_layer(&self) -> EventLayer {
        EventLayer::new(self.clone())
    }

    /// Every family in `OpenMetrics` text. Label sets long out of use are forgotten afterwards.
    #[must_use]
    pub fn encode_metrics(&self) -> String {
        let text = encode::encode(&self.shared);
        self.shared.series.forget_idle(Instant::now());
        text
    }

    /// The `workload_manager_*` family.
    #[must_use]
    pub fn pods(&self) -> &PodGauges {
        &self.shared.pods
    }

    /// A counter of our own; `name` without `_total`. Asking twice gives the same counter, and its
    /// help is marked unstable.
    #[must_use]
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        counters::register(&self.shared.registered, name, help, None)
    }

    /// A gauge of our own. Asking twice gives the same gauge, and its help is marked unstable.
    #[must_use]
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        counters::register(&self.shared.registered, name, help, None)
    }

    /// As [`counter`](Self::counter), one of several of a family that a label tells apart.
    #[must_use]
    pub fn counter_of(
        &self,
        name: &'static str,
        help: &'static str,
        label: (&'static str, &'static str),
    ) -> Counter {
        counters::register(&self.shared.registered, name, help, Some(label))
    }

    /// As [`gauge`](Self::gauge), one of several of a family that a label tells apart.
    #[must_use]
    pub fn gauge_of(
        &self,
        name: &'static str,
        help: &'static str,
        label: (&'static str, &'static str),
    ) -> Gauge {
        counters::register(&self.shared.registered, name, help, Some(label))
    }

    /// Adds a runtime to the `tokio_*` families.
    pub fn watch_runtime(&self, handle: tokio::runtime::Handle) {
        counters::lock(&self.shared.runtimes).push(handle);
    }

    /// Lines lost because the queue was full or the sink failed.
    #[must_use]
    pub fn dropped_lines(&self) -> u64 {
        self.shared.queue.dropped()
    }

    /// Waits until every line so far has been handed to the sink; `false` when patience ran out.
    #[must_use]
    pub fn flush(&self, patience: Duration) -> bool {
        self.shared.queue.flush(patience)
    }

    fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl Shared {
    fn access_enabled(&self, level: Level) -> bool {
        rank(level) <= self.access_level.load(Ordering::Relaxed)
    }

    fn open_gauge(&self, direction: Direction) -> &AtomicI64 {
        match direction {
            Direction::Inbound => &self.open_inbound,
            Direction::Outbound => &self.open_outbound,
        }
    }

    fn count_early(&self, direction: Direction, reason: &'static str) {
        *counters::lock(&self.early)
            .entry((direction.reporter(), reason))
            .or_default() += 1;
    }
}

fn rank(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

fn drop_notice(format: LogFormat, line: &mut String, lost: u64) {
    format.begin(line, SystemTime::now(), Level::WARN, "telemetry");
    format.message(
        line,
        "log lines were dropped because the writer could not keep up",
    );
    format.push_key(line, "lines");
    text::push_number(line, lost);
    format.end(line);
}

#[cfg(test)]
mod tests;
