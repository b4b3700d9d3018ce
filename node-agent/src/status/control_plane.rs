//! How it stands with the control plane, a line, and one more if it was contradicted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;

use super::certificates::time;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ControlPlane {
    state: String,
    since: Option<u64>,
    last_failure: Option<String>,
    complete_since: Option<u64>,
    last_nack: Option<Nack>,
    types: BTreeMap<String, Held>,
}

#[derive(Deserialize)]
struct Nack {
    at: Option<u64>,
    rejected: u64,
    why: String,
}

#[derive(Deserialize)]
struct Held {
    resources: u64,
    version: String,
}

impl ControlPlane {
    /// Connected or not since when, what is held, and what went wrong last.
    pub(super) fn lines(&self) -> String {
        let mut text = format!("control plane: {}{}", self.state, since(self.since));
        // Writing to a String cannot fail.
        for (url, held) in &self.types {
            let (_, name) = url.rsplit_once('.').unwrap_or(("", url));
            let _ = write!(text, "; {} of {name}", held.resources);
            if !held.version.is_empty() {
                let _ = write!(text, " (version {})", held.version);
            }
        }
        if self.complete_since.is_none() {
            text.push_str("; has not told everything yet");
        }
        if let Some(why) = &self.last_failure {
            let _ = write!(text, "; last failure: {why}");
        }
        text.push('\n');
        if let Some(Nack { at, rejected, why }) = &self.last_nack {
            let at = at.map_or_else(|| "some time".to_owned(), time);
            let _ = writeln!(text, "control plane: {rejected} rejected at {at}: {why}");
        }
        text
    }
}

fn since(seconds: Option<u64>) -> String {
    seconds.map_or_else(String::new, |at| format!(" since {}", time(at)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_held_and_what_went_wrong_is_said() {
        let types = json!({
            "type.googleapis.com/istio.workload.Address": {"resources": 7, "version": "v1"},
            "type.googleapis.com/istio.security.Authorization": {"resources": 0, "version": ""},
        });
        let waiting: ControlPlane = serde_json::from_value(json!({
            "state": "waiting to connect again", "since": 0, "lastFailure": "no route",
            "completeSince": null, "lastNack": null, "types": types,
        }))
        .unwrap();
        assert_eq!(
            waiting.lines(),
            "control plane: waiting to connect again since 1970-01-01T00:00:00Z; \
             0 of Authorization; 7 of Address (version v1); has not told everything yet; \
             last failure: no route\n"
        );
        let connected: ControlPlane = serde_json::from_value(json!({
            "state": "connected", "since": 0, "lastFailure": null, "completeSince": 1,
            "lastNack": {"at": 0, "rejected": 2, "why": "a: no"}, "types": {},
        }))
        .unwrap();
        assert_eq!(
            connected.lines(),
            "control plane: connected since 1970-01-01T00:00:00Z\n\
             control plane: 2 rejected at 1970-01-01T00:00:00Z: a: no\n"
        );
    }
}
