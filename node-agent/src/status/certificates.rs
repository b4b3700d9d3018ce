//! The certificates of a dump, a line for each identity.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tunnel_telemetry::utc;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Certificate {
    identity: String,
    state: String,
    since: Option<u64>,
    last_error: Option<String>,
    #[serde(default)]
    cert_chain: Vec<Public>,
    former_worker: Option<FormerWorker>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Public {
    /// RFC 3339.
    expiration_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FormerWorker {
    certificate: Option<Public>,
    last_error: Option<String>,
}

impl Certificate {
    /// Valid until when, or waiting since when, and why.
    pub(super) fn line(&self) -> String {
        let mut line = format!("{}: ", self.identity);
        let ends = (self.cert_chain.iter()).find_map(|one| one.expiration_time.as_deref());
        let mut error = self.last_error.as_deref();
        if let Some(ends) = ends.filter(|_| self.state == "Available") {
            add(&mut line, "valid until ", ends);
        } else {
            let since = self.since.map_or_else(|| "the start".to_owned(), time);
            add(&mut line, "waiting since ", &since);
            if let Some(former) = &self.former_worker {
                let had = former.certificate.as_ref();
                if let Some(ends) = had.and_then(|had| had.expiration_time.as_deref()) {
                    let what = "; that of the former worker, whose key is gone, ends ";
                    add(&mut line, what, ends);
                }
                error = error.or(former.last_error.as_deref());
            }
        }
        if let Some(error) = error {
            add(&mut line, "; last error: ", error);
        }
        line
    }
}

fn add(line: &mut String, what: &str, value: &str) {
    // Writing to a String cannot fail.
    let _ = write!(line, "{what}{value}");
}

pub(super) fn time(seconds: u64) -> String {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    at.map_or_else(|| "the end of time".to_owned(), utc)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn each_says_until_when_or_since_when_and_why() {
        let valid = json!([{"expirationTime": "2024-03-01T00:00:00Z"}]);
        let none = json!([{"expirationTime": null}]);
        let former = json!({
            "certificate": {"expirationTime": "2000-02-29T00:00:00Z"}, "lastError": "an earlier one",
        });
        let cases = [
            (
                json!({"state": "Available", "since": 7, "certChain": valid}),
                "valid until 2024-03-01T00:00:00Z",
            ),
            (
                json!({"state": "Available", "certChain": valid, "lastError": "no"}),
                "valid until 2024-03-01T00:00:00Z; last error: no",
            ),
            (
                json!({"state": "Unavailable: expired", "since": 0, "certChain": none}),
                "waiting since 1970-01-01T00:00:00Z",
            ),
            (
                json!({"state": "Initializing", "since": 60, "lastError": "no",
                       "certChain": none, "formerWorker": former}),
                "waiting since 1970-01-01T00:01:00Z; that of the former worker, whose key is \
                 gone, ends 2000-02-29T00:00:00Z; last error: no",
            ),
            (
                json!({"state": "Initializing", "certChain": [], "formerWorker":
                       {"certificate": null, "lastError": "an earlier one"}}),
                "waiting since the start; last error: an earlier one",
            ),
        ];
        for (mut document, expected) in cases {
            document["identity"] = Value::from("spiffe://a");
            let certificate: Certificate = serde_json::from_value(document).unwrap();
            assert_eq!(certificate.line(), format!("spiffe://a: {expected}"));
        }
    }
}
