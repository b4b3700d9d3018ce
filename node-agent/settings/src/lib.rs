//! Turns the agent's decoded configuration document into one typed [`Settings`] value, driven by a
//! single table of rows (key, type, default, unit, help, validation).
//! It refuses to guess: unknown keys, wrong types, values out of range and settings that
//! contradict each other are all reported at once, and nothing is used until all are right.
//! It owns the table, its help text and the meaning of durations, sizes and addresses; it reads no
//! file, no environment and no clock.

#![forbid(unsafe_code)]

mod choices;
mod cni;
mod control;
mod describe;
mod environment;
mod kinds;
mod mistakes;
mod rules;
mod table;

#[cfg(test)]
mod tests;

pub use choices::{
    IptablesBackend, LogFormat, OnMissingCertificate, OnUnknownPod, PodsSource, WorkerThreads,
};
pub use cni::{CniFacts, CniMode, CniProfile, OWNED_CONFLIST, Paths};
pub use describe::{describe, describe_markdown};
pub use kinds::{Blocks, ByteSize, HostPort, parse_byte_size, parse_duration};
pub use mistakes::{Mistake, Mistakes};
pub use table::{Default, Limits, Row, Settings, rows};

use serde_json::{Map, Value};

impl Settings {
    /// Reads a decoded configuration document, whose top level must be a map of settings.
    ///
    /// # Errors
    /// Every mistake of the document at once; see [`Mistakes`].
    pub fn from_document(document: &Value) -> Result<Self, Mistakes> {
        match document {
            Value::Object(map) => Self::from_map(map),
            // An empty file decodes to null: report what is missing rather than a type error.
            Value::Null => Self::from_map(&Map::new()),
            other => Err(Mistakes::one(Mistake::about_document(format!(
                "expected a map of settings, found {}",
                kinds::name_of(other)
            )))),
        }
    }

    /// The same, with what the environment says of settings that differ from pod to pod.
    ///
    /// # Errors
    /// As [`Settings::from_document`].
    pub fn from_document_and(
        document: &Value,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Mistakes> {
        let mut document = document.clone();
        if document.is_null() {
            document = Value::Object(Map::new());
        }
        if let Value::Object(map) = &mut document {
            environment::fill(map, variable);
        }
        Self::from_document(&document)
    }

    /// Reads a map of settings.
    ///
    /// # Errors
    /// Every mistake of the map at once; see [`Mistakes`].
    pub fn from_map(map: &Map<String, Value>) -> Result<Self, Mistakes> {
        let mut mistakes = mistakes::unknown_keys(map);
        let (settings, typed) = table::read(map);
        mistakes.extend(typed);
        // Contradictions are looked for even when single values are wrong, as far as they can be
        // judged, so that an operator repairs the file in one edit.
        mistakes.extend(rules::contradictions(map, settings.as_ref()));
        match settings {
            Some(settings) if mistakes.is_empty() => Ok(settings),
            _ => Err(Mistakes::new(mistakes)),
        }
    }
}
