//! What a call prints: one JSON object on one line.

use anyhow::Error;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Gathers the outcomes of one or more attempts.
#[derive(Default)]
pub(crate) struct Tally {
    made: u64,
    failed: u64,
    errors: BTreeMap<String, u64>,
    extra: Map<String, Value>,
}

impl Tally {
    /// One attempt's outcome.
    pub(crate) fn record<T>(&mut self, outcome: Result<T, Error>) -> Option<T> {
        self.made += 1;
        match outcome {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed += 1;
                *self.errors.entry(format!("{error:#}")).or_default() += 1;
                None
            }
        }
    }

    /// A further fact of this verb.
    pub(crate) fn note(&mut self, key: &str, value: impl Into<Value>) {
        self.extra.insert(key.to_owned(), value.into());
    }

    /// A number that was noted.
    #[cfg(test)]
    pub(crate) fn noted(&self, key: &str) -> f64 {
        self.extra[key].as_f64().unwrap_or(f64::NAN)
    }

    /// Adds a value to a list of distinct ones.
    pub(crate) fn note_distinct(&mut self, key: &str, value: &str) {
        let list = self.extra.entry(key).or_insert_with(|| json!([]));
        if let Value::Array(list) = list
            && !list.iter().any(|had| had == value)
        {
            list.push(value.into());
        }
    }

    /// Prints the line; the exit code says whether every attempt was answered.
    pub(crate) fn print(self, verb: &str, to: &str) -> ExitCode {
        let ok = self.failed == 0 && self.made > 0;
        let mut line = self.extra;
        line.insert("ok".to_owned(), ok.into());
        line.insert("verb".to_owned(), verb.into());
        line.insert("to".to_owned(), to.into());
        line.insert("made".to_owned(), self.made.into());
        line.insert("failed".to_owned(), self.failed.into());
        line.insert("errors".to_owned(), json!(self.errors));
        crate::say(&Value::Object(line).to_string());
        ExitCode::from(u8::from(!ok))
    }
}
