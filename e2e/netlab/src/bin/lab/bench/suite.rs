//! What is measured: each test's load, the figures it gives, and which of them are drawn.

/// A test: one call of `podkit measure`.
pub(super) struct Test {
    /// Its name in the data.
    pub(super) name: &'static str,
    /// Its name for a person.
    pub(super) title: &'static str,
    /// The verb of `podkit measure`.
    pub(super) verb: Verb,
    /// Its options; the time is added.
    pub(super) options: &'static [&'static str],
    /// What of the answer is shown.
    pub(super) figures: &'static [Figure],
}

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Bytes as fast as they go.
    Bulk,
    /// Requests on connections that stay.
    Requests,
    /// A connection for each request.
    Connects,
}

impl Verb {
    /// As `podkit` knows it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Requests => "requests",
            Self::Connects => "connects",
        }
    }

    /// The work that processor time is divided by: its key in the answer, how much of it is one unit, and its name.
    pub(super) fn work(self) -> (&'static str, f64, &'static str) {
        match self {
            Self::Bulk => ("bytes", 1e9, "GB"),
            Self::Requests => ("requests", 1e4, "10,000 requests"),
            Self::Connects => ("connections", 1e4, "10,000 connections"),
        }
    }
}

/// A number in an answer.
pub(super) struct Figure {
    /// Its key.
    pub(super) key: &'static str,
    /// Its name and unit for a person.
    pub(super) title: &'static str,
}

const GIGABITS: Figure = figure("gbit_per_s", "Gbit/s");
const REQUESTS: Figure = figure("per_s", "requests/s");
const CONNECTIONS: Figure = figure("per_s", "connections/s");
const P50: Figure = figure("p50_us", "p50 µs");
const P99: Figure = figure("p99_us", "p99 µs");
const P999: Figure = figure("p999_us", "p99.9 µs");

const fn figure(key: &'static str, title: &'static str) -> Figure {
    Figure { key, title }
}

/// All tests, in the order in which they run and are shown.
pub(super) const TESTS: [Test; 10] = [
    Test {
        name: "bulk-up-1",
        title: "bulk to the server, 1 connection",
        verb: Verb::Bulk,
        options: &["--direction", "up", "--connections", "1"],
        figures: &[GIGABITS],
    },
    Test {
        name: "bulk-up-4",
        title: "bulk to the server, 4 connections",
        verb: Verb::Bulk,
        options: &["--direction", "up", "--connections", "4"],
        figures: &[GIGABITS],
    },
    Test {
        name: "bulk-down-1",
        title: "bulk from the server, 1 connection",
        verb: Verb::Bulk,
        options: &["--direction", "down", "--connections", "1"],
        figures: &[GIGABITS],
    },
    Test {
        name: "requests-1",
        title: "requests, 1 connection",
        verb: Verb::Requests,
        options: &["--connections", "1"],
        figures: &[REQUESTS, P50, P99, P999],
    },
    Test {
        name: "requests-rate",
        title: "requests, 1,000/s over 8 connections",
        verb: Verb::Requests,
        options: &["--connections", "8", "--rate", "1000"],
        figures: &[P50, P99, P999],
    },
    Test {
        name: "requests-16",
        title: "requests, 16 connections saturated",
        verb: Verb::Requests,
        options: &["--connections", "16"],
        figures: &[REQUESTS, P50, P99],
    },
    Test {
        name: "requests-64",
        title: "requests of 1 KiB, 64 connections saturated",
        verb: Verb::Requests,
        options: &["--connections", "64", "--size", "1024"],
        figures: &[REQUESTS, P50, P99],
    },
    Test {
        name: "connects-rate",
        title: "new connections, 200/s",
        verb: Verb::Connects,
        options: &["--in-flight", "64", "--rate", "200"],
        figures: &[P50, P99],
    },
    Test {
        name: "connects-16",
        title: "new connections, 16 in flight",
        verb: Verb::Connects,
        options: &["--in-flight", "16"],
        figures: &[CONNECTIONS, P50, P99],
    },
    Test {
        name: "connects-64",
        title: "new connections, 64 in flight",
        verb: Verb::Connects,
        options: &["--in-flight", "64"],
        figures: &[CONNECTIONS, P50, P99],
    },
];

/// A group of bars with one axis.
pub(super) struct Panel {
    /// What it shows.
    pub(super) title: &'static str,
    /// The axis.
    pub(super) unit: &'static str,
    /// Whether more or less is better.
    pub(super) better: &'static str,
    /// Each with its test, its figure (or [`CPU`]), and the two lines below it.
    pub(super) bars: &'static [Bar],
}

/// A test's bars, one for each lane: the test, its figure (or [`CPU`]), and two lines of text below.
pub(super) struct Bar(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) [&'static str; 2],
);

/// Stands for the agents' processor time, which is in no answer.
pub(super) const CPU: &str = "cpu";

/// What is drawn.
pub(super) const PANELS: [Panel; 6] = [
    Panel {
        title: "Bulk",
        unit: "Gbit/s",
        better: "more is better",
        bars: &[
            Bar("bulk-up-1", "gbit_per_s", ["up", "1 connection"]),
            Bar("bulk-up-4", "gbit_per_s", ["up", "4 connections"]),
            Bar("bulk-down-1", "gbit_per_s", ["down", "1 connection"]),
        ],
    },
    Panel {
        title: "Requests, as many as go",
        unit: "requests/s",
        better: "more is better",
        bars: &[
            Bar("requests-1", "per_s", ["1", "connection"]),
            Bar("requests-16", "per_s", ["16", "connections"]),
            Bar("requests-64", "per_s", ["64 conn.", "1 KiB"]),
        ],
    },
    Panel {
        title: "Time of a request",
        unit: "microseconds",
        better: "less is better",
        bars: &[
            Bar("requests-1", "p50_us", ["1 conn.", "p50"]),
            Bar("requests-1", "p99_us", ["1 conn.", "p99"]),
            Bar("requests-rate", "p50_us", ["1,000/s", "p50"]),
            Bar("requests-rate", "p99_us", ["1,000/s", "p99"]),
        ],
    },
    Panel {
        title: "New connections, as many as go",
        unit: "connections/s",
        better: "more is better",
        bars: &[
            Bar("connects-16", "per_s", ["16", "in flight"]),
            Bar("connects-64", "per_s", ["64", "in flight"]),
        ],
    },
    Panel {
        title: "Time of a new connection's echo",
        unit: "microseconds",
        better: "less is better",
        bars: &[
            Bar("connects-rate", "p50_us", ["200/s", "p50"]),
            Bar("connects-rate", "p99_us", ["200/s", "p99"]),
        ],
    },
    Panel {
        title: "Processor time of both agents",
        unit: "CPU seconds",
        better: "less is better",
        bars: &[
            Bar("bulk-up-1", CPU, ["bulk up", "per GB"]),
            Bar("requests-16", CPU, ["requests (16)", "per 10,000"]),
            Bar("connects-16", CPU, ["connects (16)", "per 10,000"]),
        ],
    },
];
