//! The optional log file: one JSON line per call, so that what happened is known even when runtime
//! and agent have lost their logs. Nothing here can make a call fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use cni_plugin_spec::CniError;
use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use serde_json::json;

use crate::call::{Call, Outcome};
use crate::complain;

/// When the file is put aside for a new one; only the last one put aside is kept.
const FULL: u64 = 10 << 20;

/// Appends the call, if the configuration names a file.
pub(crate) fn record(
    call: &Call,
    outcome: Result<&Outcome, &CniError>,
    unprinted: Option<&io::Error>,
) {
    let Some(path) = &call.log_file else { return };
    let line = line(call, outcome, unprinted, SystemTime::now());
    if let Err(error) = append(path, &line) {
        complain(&format!(
            "the log file {} takes no more: {error}",
            path.display()
        ));
    }
}

fn line(
    call: &Call,
    outcome: Result<&Outcome, &CniError>,
    unprinted: Option<&io::Error>,
    now: SystemTime,
) -> String {
    let (container, ifname) = call.container().unzip();
    let pod = call
        .args
        .pod
        .as_ref()
        .map(|pod| format!("{}/{}", pod.namespace, pod.name));
    let took = u64::try_from(call.started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let mut line = json!({
        "time": timestamp(now),
        "verb": call.verb(),
        "container": container,
        "ifname": ifname,
        "pod": pod,
        "uid": call.args.uid,
        "pid": std::process::id(),
        "took_us": took,
        "ok": outcome.is_ok() && unprinted.is_none(),
    });
    match outcome {
        Ok(outcome) => line["outcome"] = json!(outcome.summary),
        Err(error) => {
            line["code"] = json!(error.code.number());
            line["outcome"] = json!(error.msg);
            line["details"] = json!(error.details);
        }
    }
    if let Some(error) = unprinted {
        line["unprinted"] = json!(error.to_string());
    }
    format!("{line}\n")
}

/// One write of one line: calls at the same time do not mix theirs.
fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = open(path)?;
    if file.metadata()?.len() >= FULL && put_aside(&file, path)? {
        file = open(path)?;
    }
    file.write_all(line.as_bytes())
}

/// Not through a link, and not waiting for the reader of a pipe.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(O_NOFOLLOW | O_NONBLOCK)
        .open(path)
}

/// Renames the full file. Of several calls that find it full one does so; the others see that the
/// name stands for another file already.
fn put_aside(file: &File, path: &Path) -> io::Result<bool> {
    if file.try_lock().is_err() {
        return Ok(false);
    }
    let (ours, there) = (file.metadata()?, fs::symlink_metadata(path)?);
    if (ours.dev(), ours.ino()) == (there.dev(), there.ino()) {
        let mut aside = path.as_os_str().to_owned();
        aside.push(".1");
        fs::rename(path, PathBuf::from(aside))?;
    }
    Ok(true)
}

/// UTC, to the millisecond, as RFC 3339 writes it.
fn timestamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The date of a day since 1970 by the Gregorian calendar, in years that begin with March, so that
/// the leap day is the last of its year.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
