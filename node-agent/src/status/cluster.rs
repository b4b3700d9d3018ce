//! The connection to the API server, a line for each watch.

use serde::Deserialize;

use super::certificates::time;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiServer {
    pods: Watch,
    namespaces: Watch,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Watch {
    connected: bool,
    since: u64,
    why: Option<String>,
    listed: Option<u64>,
    known: usize,
}

impl ApiServer {
    /// Whether each is followed, since when, and why not.
    pub(super) fn lines(&self) -> String {
        let lines = [("pods", &self.pods), ("namespaces", &self.namespaces)];
        lines.map(|(what, watch)| watch.line(what)).concat()
    }
}

impl Watch {
    fn line(&self, what: &str) -> String {
        let since = time(self.since);
        let link = match (self.connected, self.why.as_deref()) {
            (true, _) => format!("connected since {since}"),
            (false, why) => format!(
                "NOT CONNECTED since {since} ({}); what was known stays in force",
                why.unwrap_or("no reason is known")
            ),
        };
        let listed = self.listed.map_or_else(|| "never".to_owned(), time);
        format!(
            "API server, {what}: {link}; {} known, last list {listed}\n",
            self.known
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn both_watches_say_how_they_are() {
        let document = json!({
            "pods": {"connected": true, "since": 60, "why": null, "listed": 61, "known": 3},
            "namespaces": {"connected": false, "since": 0, "why": "no route", "listed": null,
                           "known": 0},
        });
        let server: ApiServer = serde_json::from_value(document).unwrap();
        assert_eq!(
            server.lines(),
            "API server, pods: connected since 1970-01-01T00:01:00Z; 3 known, last list \
             1970-01-01T00:01:01Z\n\
             API server, namespaces: NOT CONNECTED since 1970-01-01T00:00:00Z (no route); what was \
             known stays in force; 0 known, last list never\n"
        );
    }
}
