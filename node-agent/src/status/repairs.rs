//! What was repaired, and how it stands with the node's own probes.

use serde::Deserialize;

use super::certificates::time;

/// What was repaired at one place.
#[derive(Deserialize)]
pub(super) struct Repaired {
    times: u64,
    at: u64,
    what: Vec<String>,
}

impl Repaired {
    /// In words.
    pub(super) fn text(&self) -> String {
        let times = match self.times {
            1 => "once".to_owned(),
            times => format!("{times} times"),
        };
        let what = self.what.join("; ");
        format!("repaired {times}, last at {}: {what}", time(self.at))
    }
}

/// The node's own probes of enrolled pods.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeProbes {
    addresses: usize,
    backend: Option<String>,
    problem: Option<String>,
    repaired: Option<Repaired>,
}

impl NodeProbes {
    /// Whether they are exempt from policy.
    pub(super) fn line(&self) -> String {
        let state = match (&self.problem, &self.backend) {
            (Some(problem), _) => format!("SUBJECT TO POLICY: {problem}"),
            (None, Some(backend)) => format!("exempt at {} addresses ({backend})", self.addresses),
            (None, None) => "not known yet".to_owned(),
        };
        let repaired = self.repaired.as_ref().map(Repaired::text);
        let repaired = repaired.map_or_else(String::new, |text| format!("; {text}"));
        format!("node's probes: {state}{repaired}\n")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    fn line(document: Value) -> String {
        let probes: NodeProbes = serde_json::from_value(document).unwrap();
        probes.line()
    }

    #[test]
    fn exempt_or_not_and_repaired_or_not() {
        let repaired = json!({"times": 2, "at": 60, "what": ["one", "two"]});
        assert_eq!(
            line(json!({"addresses": 3, "backend": "nft", "problem": null, "repaired": repaired})),
            "node's probes: exempt at 3 addresses (nft); repaired 2 times, last at \
             1970-01-01T00:01:00Z: one; two\n"
        );
        assert_eq!(
            line(
                json!({"addresses": 3, "backend": "nft", "problem": "no /proc", "repaired": null})
            ),
            "node's probes: SUBJECT TO POLICY: no /proc\n"
        );
    }
}
