//! Which calls of our plugin a runtime really made, with what, and what each came to.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Stands in the plugin's place in a runtime's directory, hands every call on, and writes it down. The plugin's own log
/// file does not do: VERSION and calls that are refused at once are not in it.
#[derive(Clone, Debug)]
pub struct Spy(PathBuf);

/// A call that was made.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its verb.
    pub verb: String,
    /// Its version of the specification.
    pub version: String,
    /// 0, or that of the error document.
    pub code: u64,
}

impl Spy {
    /// Takes the place of `directory/ambient-cni`.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn install(directory: &Path, plugin: &Path) -> Result<Self> {
        let notes = directory.join("ambient-cni.notes");
        let fresh = directory.join("ambient-cni.fresh");
        let script = format!(
            "#!/bin/sh\ninput=$(cat)\nanswer=$(printf %s \"$input\" | '{}')\nstatus=$?\n\
             printf '%s\\t%s\\t%s\\t%s\\n' \"$CNI_COMMAND\" $status \"$input\" \"$answer\" >> '{}'\n\
             [ -z \"$answer\" ] || printf '%s\\n' \"$answer\"\nexit $status\n",
            plugin.display(),
            notes.display(),
        );
        std::fs::write(&fresh, script)?;
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
        std::fs::rename(&fresh, directory.join("ambient-cni"))?;
        Ok(Self(notes))
    }

    /// All calls so far.
    ///
    /// # Errors
    /// A call failed without an error document.
    pub fn calls(&self) -> Result<Vec<Seen>> {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines()
            .map(|line| read(line).with_context(|| line.to_owned()))
            .collect()
    }
}

fn read(line: &str) -> Result<Seen> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [verb, status, input, answer] = fields[..] else {
        anyhow::bail!("not four fields")
    };
    let input: Value = serde_json::from_str(input).unwrap_or_default();
    let code = if status == "0" {
        0
    } else {
        let answer: Value = serde_json::from_str(answer)?;
        ensure!(answer["msg"].is_string(), "no message");
        answer["code"].as_u64().context("no code")?
    };
    Ok(Seen {
        verb: verb.to_owned(),
        version: input["cniVersion"].as_str().unwrap_or_default().to_owned(),
        code,
    })
}
