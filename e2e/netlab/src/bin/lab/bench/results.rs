//! All that was measured: written down line by line as it comes, and asked by table and plot.

use super::lanes::verdict;
use super::spread::Round;
use super::suite::{CPU, TESTS, Test};
use anyhow::{Context, Result};
use e2e_netlab::usage::Memory;
use serde::Serialize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// One test in one lane in one round.
#[derive(Debug, Serialize)]
pub(super) struct Measurement {
    /// Counted from 1.
    pub(super) round: u32,
    /// The test's name.
    pub(super) test: &'static str,
    /// The lane's name.
    pub(super) lane: &'static str,
    /// Why there is no figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    /// What both agents took of the processors meanwhile.
    pub(super) agents_cpu_s: Option<f64>,
    /// What `podkit` answered.
    pub(super) answer: Value,
}

impl Measurement {
    /// Of an answer, which may say that it failed, or of none.
    pub(super) fn new(round: u32, test: &Test, lane: &'static str, outcome: Result<Value>) -> Self {
        let (answer, error) = match outcome {
            Ok(answer) => {
                let error = verdict(&answer).err();
                (answer, error)
            }
            Err(error) => (Value::Null, Some(error)),
        };
        Self {
            round,
            test: test.name,
            lane,
            error: error.map(|error| format!("{error:#}")),
            agents_cpu_s: None,
            answer,
        }
    }

    /// A figure of it, or the agents' processor time for a unit of its work; none of one that failed.
    fn figure(&self, key: &str) -> Option<f64> {
        if self.error.is_some() {
            return None;
        }
        if key != CPU {
            return self.answer[key].as_f64();
        }
        let test = TESTS.iter().find(|test| test.name == self.test)?;
        let (work, unit, _) = test.verb.work();
        Some(self.agents_cpu_s? / (self.answer[work].as_f64()? / unit))
    }
}

/// An agent's memory at a moment.
#[derive(Debug, Serialize)]
pub(super) struct Look {
    /// Which moment.
    pub(super) moment: String,
    /// The node.
    pub(super) node: String,
    /// In KiB.
    pub(super) memory: Memory,
}

/// All that was measured.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// In the order in which they were made.
    pub(super) measurements: Vec<Measurement>,
    /// Likewise.
    pub(super) memory: Vec<Look>,
    /// What else went wrong, in sentences.
    pub(super) problems: Vec<String>,
}

impl Results {
    /// A figure of a test in a lane, for each round that has it.
    pub(super) fn rounds(&self, test: &str, lane: &str, key: &str) -> Vec<Round> {
        let of = |one: &&Measurement| one.test == test && one.lane == lane;
        let found = self.measurements.iter().filter(of);
        found
            .filter_map(|one| Some((one.round, one.figure(key)?)))
            .collect()
    }

    /// How many of a test's measurements in a lane failed, and how many there are.
    pub(super) fn failed(&self, test: &str, lane: &str) -> (usize, usize) {
        let of = |one: &&Measurement| one.test == test && one.lane == lane;
        let all: Vec<_> = self.measurements.iter().filter(of).collect();
        let failed = all.iter().filter(|one| one.error.is_some());
        (failed.count(), all.len())
    }

    /// Everything that failed, in sentences.
    pub(super) fn failures(&self) -> Vec<String> {
        let of = self.measurements.iter().filter_map(|one| {
            let error = one.error.as_ref()?;
            let (test, lane, round) = (one.test, one.lane, one.round);
            Some(format!("{test}, {lane}, round {round}: {error}"))
        });
        of.chain(self.problems.iter().cloned()).collect()
    }
}

/// The file with one line for each measurement.
pub(super) struct Journal(File);

impl Journal {
    /// A new one, that begins with what is known before.
    pub(super) fn create(file: &Path, about: &Value) -> Result<Self> {
        let text = || format!("writing {}", file.display());
        let mut journal = Self(File::create(file).with_context(text)?);
        journal.line(&json!({"about": about}))?;
        Ok(journal)
    }

    /// One more line.
    pub(super) fn line(&mut self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(value)?;
        writeln!(self.0, "{text}").context("writing the results")
    }
}
