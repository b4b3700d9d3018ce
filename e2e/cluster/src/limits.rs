//! Limits of this machine that two nodes' worth of programs exceed: raised for the time of a cluster, and put back.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What kubelets, containerds and proxies of a few nodes need together.
const WANTED: [(&str, u64); 2] = [
    ("/proc/sys/fs/inotify/max_user_instances", 4096),
    ("/proc/sys/fs/inotify/max_user_watches", 1_048_576),
];

/// A limit as it was before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OldLimit {
    /// Its file in `/proc/sys`.
    pub file: String,
    /// Its value.
    pub value: u64,
}

/// The limits that are too low here.
pub(crate) fn too_low() -> Result<Vec<OldLimit>> {
    let mut found = Vec::new();
    for (file, wanted) in WANTED {
        let value = read(Path::new(file))?;
        if value < wanted {
            found.push(OldLimit {
                file: file.to_owned(),
                value,
            });
        }
    }
    Ok(found)
}

/// Raises them.
pub(crate) fn raise(limits: &[OldLimit]) -> Result<()> {
    for (file, wanted) in WANTED {
        if limits.iter().any(|limit| limit.file == file) {
            std::fs::write(file, wanted.to_string()).with_context(|| file.to_owned())?;
        }
    }
    Ok(())
}

/// Puts them back.
pub(crate) fn put_back(limits: &[OldLimit]) -> Result<()> {
    for limit in limits {
        std::fs::write(&limit.file, limit.value.to_string()).with_context(|| limit.file.clone())?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(text.trim().parse()?)
}
