//! What a repetition came to, as a row, and all of them beside what they must be.

use super::clock::Blow;
use super::report::{Break, Failure, Report};
use anyhow::{Result, ensure};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// So long after a kill, whatever was inside the killed process must have been reset.
const AT_ONCE_MS: f64 = 1_000.0;

/// Figures of one repetition.
#[derive(Clone, Debug)]
pub struct Figures {
    /// New connections.
    pub made: u64,
    /// Those that failed and need not have.
    pub failed: Vec<Failure>,
    /// Those that were under way inside a process when it was killed, and were reset at once.
    pub caught: u64,
    /// The slowest answer to a new connection.
    pub longest_ms: f64,
    /// What a hundredth of these waits exceed.
    pub p99_ms: f64,
    /// The slowest answer to a message of a long-lived connection.
    pub message_ms: f64,
    /// How late the load itself was.
    pub late_ms: f64,
    /// Long-lived connections.
    pub lives: u64,
    /// Those that were reset within a second of a kill.
    pub reset: u64,
    /// The longest of these times.
    pub reset_ms: f64,
    /// Those that broke otherwise.
    pub broken: Vec<Break>,
    /// Those that did not answer at the end.
    pub hanging: u64,
    /// How often the marker was on the wire.
    pub in_clear: usize,
}

impl Figures {
    /// From what a load saw, what was killed meanwhile, and what was on the wire.
    #[must_use]
    pub fn new(report: &Report, blows: &[Blow], in_clear: usize) -> Self {
        let lives = &report.steady;
        let (caught, failed) = report
            .failures
            .iter()
            .cloned()
            .partition::<Vec<_>, _>(|failure| is_caught(failure, blows));
        let delays: Vec<Option<f64>> = lives
            .broken
            .iter()
            .map(|one| reset_after(one, blows))
            .collect();
        let broken = lives.broken.iter().zip(&delays);
        Self {
            made: report.made,
            failed,
            caught: caught.len() as u64,
            longest_ms: report.longest_wait.map_or(0.0, |wait| wait.ms),
            p99_ms: report.p99_ms.unwrap_or_default(),
            message_ms: lives.longest_wait.map_or(0.0, |wait| wait.ms),
            late_ms: report.generator_late_ms,
            lives: lives.made,
            reset: delays.iter().flatten().count() as u64,
            reset_ms: delays.iter().flatten().copied().fold(0.0, f64::max),
            broken: broken
                .filter(|(_, delay)| delay.is_none())
                .map(|(one, _)| one.clone())
                .collect(),
            hanging: lives.hanging.len() as u64,
            in_clear,
        }
    }
}

/// Whether it was inside a process that was killed: accepted before, and reset at once. A load that is late may hear of the
/// reset before it has seen the handshake end (what nobody listens for is *refused*), or only when it closes.
fn is_caught(failure: &Failure, blows: &[Blow]) -> bool {
    (failure.error == "reset" || was_reset_before(&failure.error))
        && blows.iter().any(|blow| {
            failure.began_ms <= blow.to_ms
                && (blow.from_ms..blow.to_ms + AT_ONCE_MS).contains(&failure.ended_ms)
        })
}

/// How long after a kill it was reset, if that was at once.
fn reset_after(one: &Break, blows: &[Blow]) -> Option<f64> {
    let after = blows.iter().map(|blow| one.at_ms - blow.from_ms);
    let after = after.filter(|after| (0.0..AT_ONCE_MS).contains(after));
    after
        .min_by(f64::total_cmp)
        .filter(|_| one.error == "reset")
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{:6} {:6} {:6} {:7.1} {:7.1} {:10.1} {:6.1} {:5} {:5} {:8.1} {:6} {:7} {:5}",
            self.made,
            self.failed.len(),
            self.caught,
            self.p99_ms,
            self.longest_ms,
            self.message_ms,
            self.late_ms,
            self.lives,
            self.reset,
            self.reset_ms,
            self.broken.len(),
            self.hanging,
            self.in_clear,
        )
    }
}

const HEAD: &str = "  made failed caught  p99 ms wait ms message ms   late lives reset after ms broken hanging clear";

/// The p99 of an undisturbed load on the two idle processors for which limits were set, and some more.
const P99_MS: f64 = 10.0;

impl Figures {
    /// A limit of such a machine, stretched by as much as this load, with which nothing was done, says that ours is slower or
    /// busy with something else.
    #[must_use]
    pub fn stretch(&self, limit_ms: f64) -> f64 {
        limit_ms * (self.p99_ms / P99_MS).max(1.0)
    }
}

/// What is to become of new connections.
#[derive(Clone, Copy, Debug)]
pub enum New {
    /// None fails; none waits longer than this.
    AllWithin(f64),
    /// None fails.
    All,
    /// Counted.
    Counted,
}

/// What is to become of long-lived connections.
#[derive(Clone, Copy, Debug)]
pub enum Long {
    /// None breaks.
    Kept,
    /// All are reset at once.
    Reset,
    /// Counted.
    Counted,
}

/// The repetitions of one case.
#[derive(Debug)]
pub struct Series {
    name: String,
    rows: Vec<Figures>,
}

impl Series {
    /// A case without a repetition yet.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            rows: Vec::new(),
        }
    }

    /// One more.
    pub fn add(&mut self, figures: Figures) {
        self.rows.push(figures);
    }

    /// All of it as a table, with the sum of all rows at its end: the largest of times.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!("{}\n       {HEAD}\n", self.name);
        for (number, row) in self.rows.iter().enumerate() {
            let _ = writeln!(text, "  {:4} {row}", number + 1);
        }
        if let Some(sum) = self.rows.iter().cloned().reduce(sum) {
            let _ = writeln!(text, "   all {sum}");
            text += &words(&sum);
        }
        text
    }

    /// All repetitions are as they must be. Nothing may ever hang, be in clear, or end as if it were complete.
    ///
    /// # Errors
    /// Those that are not.
    pub fn verdict(&self, new: New, long: Long) -> Result<()> {
        let mut wrong = Vec::new();
        for (number, row) in self.rows.iter().enumerate() {
            for what in faults(row, new, long) {
                wrong.push(format!("repetition {}: {what}", number + 1));
            }
        }
        ensure!(!self.rows.is_empty(), "{}: no repetition", self.name);
        ensure!(wrong.is_empty(), "{}:\n  {}", self.name, wrong.join("\n  "));
        Ok(())
    }
}

fn faults(row: &Figures, new: New, long: Long) -> Vec<String> {
    let mut wrong = always_wrong(row);
    let mut must = |holds: bool, what: String| {
        if !holds {
            wrong.push(what);
        }
    };
    if !matches!(new, New::Counted) {
        let first = row.failed.first();
        must(first.is_none(), format!("failed: {first:?}"));
    }
    if let New::AllWithin(limit) = new {
        // While the load itself does not run, neither does what it measures.
        let limit = limit + row.late_ms;
        let what = format!("waited {:.0} ms, more than {limit:.0}", row.longest_ms);
        must(row.longest_ms <= limit, what);
    }
    let (reset, broken, lives) = (row.reset, row.broken.len(), row.lives);
    let what = format!("{reset} reset, {broken} broken of {lives}");
    match long {
        Long::Kept => must(reset == 0 && broken == 0, what),
        Long::Reset => must(reset == lives, what),
        Long::Counted => {}
    }
    wrong
}

/// Whatever happens, a connection that cannot go on is refused or reset, soon: it never hangs, and never looks complete.
fn always_wrong(row: &Figures) -> Vec<String> {
    let mut wrong = Vec::new();
    if row.made < 100 || row.lives == 0 {
        wrong.push(format!("only {} and {} connections", row.made, row.lives));
    }
    if row.in_clear > 0 {
        wrong.push(format!("{} times in clear", row.in_clear));
    }
    if row.hanging > 0 {
        wrong.push(format!("{} hanging", row.hanging));
    }
    let shown = |error: &str| ["reset", "refused"].contains(&error) || was_reset_before(error);
    if let Some(one) = row.failed.iter().find(|one| !shown(&one.error)) {
        wrong.push(format!("failed otherwise than by RST: {one:?}"));
    }
    if let Some(one) = row.broken.iter().find(|one| !shown(&one.error)) {
        wrong.push(format!("broken otherwise than by RST: {one:?}"));
    }
    wrong
}

/// A connection that was reset a moment before is not there any more when it is to be closed (`ENOTCONN`).
fn was_reset_before(error: &str) -> bool {
    error.ends_with("(os error 107)")
}

fn sum(mut all: Figures, row: Figures) -> Figures {
    all.made += row.made;
    all.failed.extend(row.failed);
    all.caught += row.caught;
    all.longest_ms = all.longest_ms.max(row.longest_ms);
    all.p99_ms = all.p99_ms.max(row.p99_ms);
    all.message_ms = all.message_ms.max(row.message_ms);
    all.late_ms = all.late_ms.max(row.late_ms);
    all.lives += row.lives;
    all.reset += row.reset;
    all.reset_ms = all.reset_ms.max(row.reset_ms);
    all.broken.extend(row.broken);
    all.hanging += row.hanging;
    all.in_clear += row.in_clear;
    all
}

/// How connections failed and broke, counted by kind.
fn words(sum: &Figures) -> String {
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for one in &sum.failed {
        *kinds
            .entry(format!("new, {}: {}", one.step, one.error))
            .or_default() += 1;
    }
    for one in &sum.broken {
        *kinds
            .entry(format!("long-lived: {}", one.error))
            .or_default() += 1;
    }
    kinds.iter().fold(String::new(), |mut text, (kind, count)| {
        let _ = writeln!(text, "       {count} x {kind}");
        text
    })
}

#[cfg(test)]
#[path = "figures_tests.rs"]
mod tests;
