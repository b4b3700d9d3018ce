//! One pod, explained in words.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde::Deserialize;

use super::certificates::Certificate;
use super::repairs::Repaired;
use super::{StatusError, ask};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Explanation {
    pod: String,
    verdict: String,
    reason: String,
    asked: bool,
    place: Option<Place>,
    recorded: Vec<Recorded>,
    trouble: Option<String>,
    certificate: Option<Certificate>,
}

#[derive(Deserialize)]
struct Place {
    netns: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    stage: String,
    container_id: String,
    ifname: String,
    netns: Option<String>,
    addresses: Vec<String>,
    assumed: bool,
    kernel: Kernel,
    repaired: Option<Repaired>,
}

#[derive(Deserialize)]
struct Kernel {
    rules: String,
    why: Option<String>,
    #[serde(default)]
    drift: Vec<String>,
}

/// The explanation of the agent at `address`.
pub(crate) fn explain(address: SocketAddr, pod: &str) -> Result<String, StatusError> {
    let explanation: Explanation = ask(address, &format!("/explain?pod={pod}"))?;
    Ok(explanation.text())
}

impl Explanation {
    fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |what: &str, value: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{what:<12} {value}");
        };
        let asked = if self.asked {
            "; the API server was asked, because it had not told of it"
        } else {
            ""
        };
        line("pod", &self.pod);
        line(
            "desired",
            &format!("{}: {}{asked}", self.verdict, self.reason),
        );
        if self.recorded.is_empty() {
            let place = self.place.as_ref().map_or("", |place| place.netns.as_str());
            let found = if place.is_empty() {
                ""
            } else {
                "; it runs in "
            };
            line("recorded", &format!("not enrolled{found}{place}"));
        }
        for recorded in &self.recorded {
            line("recorded", &recorded.line());
            line("kernel", &recorded.kernel.line());
            if let Some(repaired) = &recorded.repaired {
                line("rules", &repaired.text());
            }
        }
        let certificate = self.certificate.as_ref().map(Certificate::line);
        line(
            "certificate",
            certificate.as_deref().unwrap_or("none is held"),
        );
        if let Some(trouble) = &self.trouble {
            line("trouble", trouble);
        }
        text
    }
}

impl Recorded {
    fn line(&self) -> String {
        let netns = self
            .netns
            .as_deref()
            .unwrap_or("no path that the agent sees");
        let container = if self.assumed {
            "a sandbox whose id is not known".to_owned()
        } else {
            format!("container {}", self.container_id)
        };
        let addresses = self.addresses.join(", ");
        format!(
            "{}; {container}, {} in {netns}, {addresses}",
            self.stage, self.ifname
        )
    }
}

impl Kernel {
    fn line(&self) -> String {
        let mut line = format!("rules {}", self.rules);
        for part in self.why.iter().chain(&self.drift) {
            line.push_str("; ");
            line.push_str(part);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    fn text(document: Value) -> String {
        let explanation: Explanation = serde_json::from_value(document).unwrap();
        explanation.text()
    }

    #[test]
    fn a_pod_that_is_in_and_one_that_is_not() {
        let enrolled = text(json!({
            "pod": "shop/cart", "verdict": "in the mesh", "reason": "its label", "asked": false,
            "place": null, "trouble": null,
            "recorded": [{"stage": "enrolled", "containerId": "c1", "ifname": "eth0",
                          "netns": "/run/netns/x", "addresses": ["10.0.0.7"], "assumed": false,
                          "kernel": {"rules": "differ", "drift": ["one is missing"]},
                          "repaired": {"times": 1, "at": 60, "what": ["a rule is missing"]}}],
            "certificate": {"identity": "spiffe://a", "state": "Initializing", "since": 0},
        }));
        let expected = "pod          shop/cart\n\
                        desired      in the mesh: its label\n\
                        recorded     enrolled; container c1, eth0 in /run/netns/x, 10.0.0.7\n\
                        kernel       rules differ; one is missing\n\
                        rules        repaired once, last at 1970-01-01T00:01:00Z: a rule is missing\n\
                        certificate  spiffe://a: waiting since 1970-01-01T00:00:00Z\n";
        assert_eq!(enrolled, expected);

        let outside = text(json!({
            "pod": "shop/web", "verdict": "in the mesh", "reason": "its label", "asked": true,
            "place": {"netns": "/run/netns/y"}, "recorded": [], "certificate": null,
            "trouble": "no certificate",
        }));
        let expected = "pod          shop/web\n\
                        desired      in the mesh: its label; the API server was asked, because it had not told of it\n\
                        recorded     not enrolled; it runs in /run/netns/y\n\
                        certificate  none is held\n\
                        trouble      no certificate\n";
        assert_eq!(outside, expected);
    }
}
