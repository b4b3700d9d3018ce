//! How long the steps of a start took.

use std::time::{Duration, Instant};

/// A step and its time since the one before.
#[derive(Clone, Debug)]
pub struct Phase {
    /// What was done.
    pub what: &'static str,
    /// How long it took.
    pub took: Duration,
}

/// Takes the time of steps that follow each other.
#[derive(Debug)]
pub(crate) struct Watch {
    last: Instant,
    phases: Vec<Phase>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        Self {
            last: Instant::now(),
            phases: Vec::new(),
        }
    }

    /// A step is done.
    pub(crate) fn note(&mut self, what: &'static str) {
        let now = Instant::now();
        self.phases.push(Phase {
            what,
            took: now - self.last,
        });
        self.last = now;
    }

    pub(crate) fn phases(self) -> Vec<Phase> {
        self.phases
    }
}
