//! Pods that ask for all capabilities, where this machine itself lacks one.

use anyhow::{Context, Result};

/// `CAP_SYS_RESOURCE`, by number.
const SYS_RESOURCE: u64 = 24;

/// Takes away what cannot be given, from a container's description and from a command's that joins it.
const WRAPPER: &str = r#"#!/bin/bash
# This machine has no CAP_SYS_RESOURCE to give, and runc refuses pods that ask for all capabilities.
set -euo pipefail
previous=
for word in "$@"; do
    case "$previous" in
    --bundle) file=$word/config.json ;;
    --process) file=$word ;;
    *) file= ;;
    esac
    if [ -n "$file" ]; then sed -i 's/,"CAP_SYS_RESOURCE"//g; s/"CAP_SYS_RESOURCE",\{0,1\}//g' "$file"; fi
    previous=$word
done
exec runc "$@"
"#;

/// A program to use in runc's place, if this machine needs one.
pub(super) fn wrapper() -> Result<Option<&'static str>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let bounding = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .context("/proc/self/status names no capabilities")?;
    let bounding = u64::from_str_radix(bounding.trim(), 16)?;
    Ok((bounding & (1 << SYS_RESOURCE) == 0).then_some(WRAPPER))
}
