//! What a load saw, as one JSON object.

use super::clock::{Moment, millis};
use super::fresh::{Fresh, Step};
use super::line::Fault;
use super::steady::{End, Habit, Steady};
use serde_json::{Value, json};
use std::time::Duration;

/// A report says of so many failures when each was; all are counted.
const LISTED: usize = 20_000;

/// Outcomes of the new connections.
#[derive(Default)]
pub(super) struct Report {
    made: u64,
    failed: u64,
    failures: Vec<Value>,
    waits: Vec<Duration>,
    longest: Option<(Moment, Duration)>,
    late: Duration,
}

impl Report {
    /// One was begun, so much later than it was due.
    pub(super) fn begun(&mut self, late: Duration) {
        self.made += 1;
        self.late = self.late.max(late);
    }

    /// One ended in good order.
    pub(super) fn done(&mut self, one: &Fresh) {
        if let Some(answered) = one.answered() {
            let wait = answered.since(one.began());
            self.waits.push(wait);
            if self.longest.is_none_or(|(_, had)| wait > had) {
                self.longest = Some((one.began(), wait));
            }
        }
    }

    /// One did not.
    pub(super) fn failed(&mut self, step: Step, fault: &Fault, began: Moment, ended: Moment) {
        self.failed += 1;
        if self.failures.len() < LISTED {
            self.failures.push(json!({
                "step": step.word(),
                "error": fault.0,
                "began_ms": began.millis(),
                "ended_ms": ended.millis(),
            }));
        }
    }

    /// All of it, after the end.
    pub(super) fn json(mut self, began: Moment, ended: Moment, steady: &[Steady]) -> Value {
        self.waits.sort_unstable();
        let rank = |percent: usize| (self.waits.len() * percent).div_ceil(100).max(1) - 1;
        let percentile = |percent| self.waits.get(rank(percent)).copied().map(millis);
        let (steady, sound) = lives(steady);
        json!({
            "ok": self.failed == 0 && sound && self.made > 0,
            "verb": "load",
            "began_ms": began.millis(),
            "ended_ms": ended.millis(),
            "made": self.made,
            "failed": self.failed,
            "failures": self.failures,
            "longest_wait": self.longest.map(|(began, wait)| wait_json(began, wait)),
            "p50_ms": percentile(50),
            "p99_ms": percentile(99),
            "generator_late_ms": millis(self.late),
            "steady": steady,
        })
    }
}

fn wait_json(began: Moment, wait: Duration) -> Value {
    json!({"ms": millis(wait), "began_ms": began.millis()})
}

/// The long-lived ones, and whether all ended well.
fn lives(all: &[Steady]) -> (Value, bool) {
    let (mut broken, mut hanging) = (Vec::new(), Vec::new());
    for (number, one) in all.iter().enumerate() {
        let silent = one.habit() == Habit::Silent;
        let mut about = json!({"number": number, "silent": silent, "messages": one.messages()});
        match one.end() {
            Some(End::Closed) => {}
            Some(End::Broken(fault, at)) => {
                about["error"] = json!(fault.0);
                about["at_ms"] = json!(at.millis());
                broken.push(about);
            }
            Some(End::Hanging) | None => hanging.push(about),
        }
    }
    let sound = broken.is_empty() && hanging.is_empty();
    let longest = all
        .iter()
        .filter_map(Steady::longest)
        .max_by_key(|wait| wait.lasted);
    let value = json!({
        "made": all.len(),
        "messages": all.iter().map(Steady::messages).sum::<u64>(),
        "longest_wait": longest.map(|wait| wait_json(wait.began, wait.lasted)),
        "broken": broken,
        "hanging": hanging,
    });
    (value, sound)
}
