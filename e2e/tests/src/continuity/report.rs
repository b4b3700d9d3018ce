//! What a load says it saw.

use serde::Deserialize;

/// The last line of `podkit load`.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// When the first new connection was due.
    pub began_ms: f64,
    /// When the last connection had ended.
    pub ended_ms: f64,
    /// New connections.
    pub made: u64,
    /// Those that were not answered and closed in good order.
    pub failed: u64,
    /// When and how.
    pub failures: Vec<Failure>,
    /// The slowest answer to a new connection, from its beginning.
    pub longest_wait: Option<Wait>,
    /// The median of the same.
    pub p50_ms: Option<f64>,
    /// And what a hundredth of them exceed.
    pub p99_ms: Option<f64>,
    /// How late the load itself opened a connection, at worst: what the machine took from it.
    pub generator_late_ms: f64,
    /// The long-lived connections.
    pub steady: Lives,
}

/// A new connection that failed.
#[derive(Clone, Debug, Deserialize)]
pub struct Failure {
    /// `connect`, `exchange` or `close`.
    pub step: String,
    /// In a few words.
    pub error: String,
    /// When it began.
    pub began_ms: f64,
    /// When it failed.
    pub ended_ms: f64,
}

/// A wait.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Wait {
    /// How long.
    pub ms: f64,
    /// Since when.
    pub began_ms: f64,
}

/// The long-lived connections.
#[derive(Clone, Debug, Deserialize)]
pub struct Lives {
    /// How many there were.
    pub made: u64,
    /// Messages answered on all of them.
    pub messages: u64,
    /// The message whose answer took longest.
    pub longest_wait: Option<Wait>,
    /// Those that ended before their time.
    pub broken: Vec<Break>,
    /// Those that did not answer any more at the end.
    pub hanging: Vec<Hanging>,
}

/// A long-lived connection that ended before its time.
#[derive(Clone, Debug, Deserialize)]
pub struct Break {
    /// Which.
    pub number: u64,
    /// Whether it was the silent one.
    pub silent: bool,
    /// In a few words.
    pub error: String,
    /// When it was noticed.
    pub at_ms: f64,
}

/// A long-lived connection that did not answer its last message.
#[derive(Clone, Debug, Deserialize)]
pub struct Hanging {
    /// Which.
    pub number: u64,
    /// Whether it was the silent one.
    pub silent: bool,
    /// Messages that were answered.
    pub messages: u64,
}
