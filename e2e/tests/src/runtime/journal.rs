//! Which calls of our plugin a runtime really made, and what each came to.

use anyhow::{Context, Result};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The plugin's log file (`log_file` of its configuration).
#[derive(Clone, Debug)]
pub struct Journal(pub PathBuf);

impl Journal {
    /// All calls so far.
    ///
    /// # Errors
    /// A line is no JSON.
    pub fn calls(&self) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        let read = |line: &str| serde_json::from_str(line).with_context(|| format!("{line:?}"));
        text.lines().map(read).collect()
    }

    /// The code of the last call of a verb for a pod (any, if none is named) after the first `skip` calls.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn code(&self, verb: &str, skip: usize) -> Result<Option<u64>> {
        let calls = self.calls()?;
        let last = calls
            .iter()
            .skip(skip)
            .rev()
            .find(|call| call["verb"] == verb);
        Ok(last.map(|call| {
            if call["ok"] == true {
                0
            } else {
                call["code"].as_u64().unwrap_or(u64::MAX)
            }
        }))
    }
}

/// Stands in the plugin's place in a runtime's directory, writes the verb down, and becomes the plugin: VERSION and calls
/// that are refused early are in no journal.
#[derive(Clone, Debug)]
pub struct Spy {
    verbs: PathBuf,
}

impl Spy {
    /// Writes it to `directory/ambient-cni`, in place of what is there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn install(directory: &Path, plugin: &Path, verbs: &Path) -> Result<Self> {
        let file = directory.join("ambient-cni");
        let fresh = directory.join("ambient-cni.fresh");
        let script = format!(
            "#!/bin/sh\necho \"$CNI_COMMAND\" >> '{}'\nexec '{}'\n",
            verbs.display(),
            plugin.display()
        );
        std::fs::write(&fresh, script)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&fresh, &file)?;
        Ok(Self {
            verbs: verbs.to_owned(),
        })
    }

    /// The verbs so far.
    #[must_use]
    pub fn verbs(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.verbs).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}
