//! What an uninstall must know, kept on disk before anything is changed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::file::Looks;

/// What this node was given, by whichever run of the installer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The format.
    format: Format,
    /// Which run of an installer wrote it; a later one takes over from an earlier one.
    pub(crate) generation: u64,
    /// Directories on the host with our plugin.
    pub(crate) bin_dirs: Vec<PathBuf>,
    /// Files in configuration directories.
    pub(crate) files: Vec<Kept>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
enum Format {
    #[default]
    #[serde(rename = "1")]
    First,
}

/// A file that we changed or made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The configuration directory, as the host names it.
    pub(crate) directory: PathBuf,
    /// Its name now.
    pub(crate) name: String,
    /// What becomes of it when we go.
    pub(crate) was: Was,
}

/// What stood in a file's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Was {
    /// Nothing.
    Absent,
    /// A file of the primary plugin.
    File {
        /// What it was called.
        name: String,
        /// What was in it.
        original: String,
        /// What we made of it.
        written: String,
        /// Who could read it.
        looks: Looks,
    },
}

impl Was {
    /// We wrote it anew.
    pub(crate) fn is_now(&mut self, text: String) {
        if let Self::File { written, .. } = self {
            *written = text;
        }
    }
}

impl Record {
    /// The record on disk, or why it cannot be used.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// As it is written to disk.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}
