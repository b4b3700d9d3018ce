//! What was measured on, when, and by which command: without it, numbers mean nothing.

use super::Length;
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct About {
    /// In UTC.
    pub(super) date: String,
    /// With all its options.
    pub(super) command: String,
    /// Its release.
    pub(super) kernel: String,
    /// What the kernel calls the processor.
    pub(super) cpu: String,
    /// How many of them we may use.
    pub(super) cores: usize,
    /// All of the memory.
    pub(super) memory_gib: Option<f64>,
    /// What others (and we) had to do before the first test: processes that run, over a minute.
    pub(super) load_before: String,
    /// How often.
    pub(super) rounds: u32,
    /// How long.
    pub(super) seconds: u32,
}

impl About {
    /// Of this machine, now.
    pub(super) fn now(length: Length) -> Self {
        let read = |file| std::fs::read_to_string(file).unwrap_or_default();
        let words: Vec<String> = std::env::args().collect();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let load = read("/proc/loadavg");
        Self {
            date: date(since.unwrap_or_default().as_secs()),
            command: words.join(" "),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: cpu(&read("/proc/cpuinfo")),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            memory_gib: gib(&read("/proc/meminfo")),
            load_before: load.split(' ').next().unwrap_or_default().to_owned(),
            rounds: length.rounds,
            seconds: length.seconds,
        }
    }
}

/// The first processor's name; not every architecture has one.
fn cpu(cpuinfo: &str) -> String {
    let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let name = lines.find(|(key, _)| key.trim() == "model name");
    let name = name.map_or("unnamed", |(_, value)| value.trim());
    format!("{name} ({})", std::env::consts::ARCH)
}

fn gib(meminfo: &str) -> Option<f64> {
    let mut lines = meminfo.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(key, _)| *key == "MemTotal")?;
    let kib: u32 = value.split_whitespace().next()?.parse().ok()?;
    Some((f64::from(kib) / f64::from(1 << 20) * 10.0).round() / 10.0)
}

/// A moment of the Gregorian calendar, in UTC. Years begin in March here, so that a leap day is a year's last.
fn date(seconds: u64) -> String {
    let (day, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + next;
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_799, "2000-02-29 23:59 UTC"),
            (1_704_067_199, "2023-12-31 23:59 UTC"),
            (1_704_067_200, "2024-01-01 00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }

    #[test]
    fn a_machine_without_names_has_a_line_too() {
        let arch = std::env::consts::ARCH;
        let named = "processor\t: 0\nmodel\t\t: 7\nmodel name\t: Fast: really\n";
        assert_eq!(cpu(named), format!("Fast: really ({arch})"));
        assert_eq!(cpu("processor\t: 0\n"), format!("unnamed ({arch})"));
        assert_eq!(gib("MemTotal:       16777216 kB\n"), Some(16.0));
        assert_eq!(gib(""), None);
    }
}
