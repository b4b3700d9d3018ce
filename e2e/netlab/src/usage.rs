//! What a process costs, as the kernel counts it: processor time, and memory.

use crate::process::ProcessId;
use anyhow::{Context, Result};
use serde::Serialize;
use std::time::Duration;

/// The kernel's unit of processor time in `/proc`, which is the same on all architectures.
const TICKS_PER_SECOND: u64 = 100;

/// The processor time that a process has had so far, in both modes.
///
/// # Errors
/// It has ended.
pub fn processor_time(process: ProcessId) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid))?;
    let ticks = ticks(&stat).context("no times in /proc/PID/stat")?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// User and system time in `/proc/PID/stat`; the name, in parentheses, may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Memory in KiB, counted page by page at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident; pages that processes share count for each.
    pub rss: u64,
    /// Resident; shared pages count in part.
    pub pss: u64,
    /// Backed by no file.
    pub anonymous: u64,
}

impl Memory {
    /// Of a process, now.
    ///
    /// # Errors
    /// It has ended.
    pub fn of(process: ProcessId) -> Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid))?;
        let read = |key: &str| kib(&text, key).with_context(|| format!("no {key} in {text:?}"));
        Ok(Self {
            rss: read("Rss")?,
            pss: read("Pss")?,
            anonymous: read("Anonymous")?,
        })
    }
}

/// The number behind a whole name, in the way of `/proc`: `NAME: NUMBER kB`.
#[must_use]
pub fn kib(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| *name == key)?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194560 9 0 3 0 250 31 7 8 20 0 5 0 123";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("17 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_by_whole_names() {
        let text = "5581-7ffc ---p 00000000 00:00 0    [rollup]\nRss:   6496 kB\nPss:  3111 kB\n\
                    Pss_Anon: 12 kB\nAnonymous:   1820 kB\n";
        assert_eq!(kib(text, "Rss"), Some(6496));
        assert_eq!(kib(text, "Pss"), Some(3111));
        assert_eq!(kib(text, "Anonymous"), Some(1820));
        assert_eq!(kib(text, "Swap"), None);
    }
}
