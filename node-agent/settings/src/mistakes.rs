//! What was wrong with a configuration, in words an operator can act on.

use std::fmt;

use serde_json::{Map, Value};

use crate::table;

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    key: Option<String>,
    problem: String,
}

impl Mistake {
    /// A mistake in the setting `key`.
    #[must_use]
    pub fn about(key: &str, problem: impl Into<String>) -> Self {
        Self {
            key: Some(key.to_owned()),
            problem: problem.into(),
        }
    }

    /// A mistake in the document as a whole.
    #[must_use]
    pub fn about_document(problem: impl Into<String>) -> Self {
        Self {
            key: None,
            problem: problem.into(),
        }
    }

    /// The setting at fault, when it is a single one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key}: {}", self.problem),
            None => f.write_str(&self.problem),
        }
    }
}

/// All mistakes of one configuration; displayed one per line.
///
/// The operator is at fault, trying again without an edit is pointless.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.listed())]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(crate) fn new(mistakes: Vec<Mistake>) -> Self {
        Self(mistakes)
    }

    pub(crate) fn one(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }

    /// The mistakes, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.0.iter()
    }

    fn listed(&self) -> String {
        self.0
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Keys that no row knows, each with the nearest key that exists.
pub(crate) fn unknown_keys(map: &Map<String, Value>) -> Vec<Mistake> {
    map.keys()
        .filter(|key| table::rows().iter().all(|row| row.key != key.as_str()))
        .map(|key| {
            let hint = nearest(key).map_or_else(String::new, |k| format!("; did you mean {k}?"));
            Mistake::about(key, format!("no such setting{hint}"))
        })
        .collect()
}

fn nearest(key: &str) -> Option<&'static str> {
    let wanted = simplified(key);
    table::rows()
        .iter()
        .map(|row| (distance(&wanted, &simplified(row.key)), row.key))
        .min()
        .filter(|(far, _)| *far <= (wanted.len() / 3).clamp(1, 4))
        .map(|(_, key)| key)
}

/// Case and separators are the usual slip (`admin_address`, `AdminAddress`), so they cost nothing.
fn simplified(key: &str) -> String {
    key.chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase()
}

/// Levenshtein distance, one row at a time.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut costs: Vec<usize> = (0..=right.len()).collect();
    for (row, l) in left.chars().enumerate() {
        let mut diagonal = costs[0];
        costs[0] = row + 1;
        for (column, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != *r);
            diagonal = costs[column + 1];
            costs[column + 1] = substituted.min(diagonal + 1).min(costs[column] + 1);
        }
    }
    costs[right.len()]
}
