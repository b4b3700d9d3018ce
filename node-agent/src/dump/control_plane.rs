//! How it stands with the control plane, in the dump.

use std::time::SystemTime;

use serde_json::{Map, Value, json};
use tunnel_discovery::{ResourceType, XdsStatus};

/// Times are seconds since 1970.
pub(super) fn shown(status: &XdsStatus) -> Value {
    let types = ResourceType::ALL.into_iter().map(|kind| {
        let of = status.of(kind);
        let value = json!({
            "resources": of.resources,
            "responses": of.responses,
            "version": of.version,
            "lastResponse": of.last_response.and_then(seconds),
        });
        (kind.url().to_owned(), value)
    });
    let nack = status.last_nack.as_ref().map(|nack| {
        json!({
            "at": seconds(nack.at),
            "type": nack.kind.url(),
            "rejected": nack.rejected,
            "why": nack.why,
        })
    });
    json!({
        "state": status.link.as_str(),
        "since": seconds(status.since),
        "lastFailure": status.last_failure,
        "completeSince": status.complete_since.and_then(seconds),
        "lastNack": nack,
        "types": types.collect::<Map<_, _>>(),
    })
}

fn seconds(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use tunnel_discovery::{Link, Nack, TypeStatus};

    use super::*;

    #[test]
    fn everything_an_operator_asks_for_is_there() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let addresses = TypeStatus {
            resources: 7,
            responses: 2,
            version: "v1".to_owned(),
            last_response: Some(at(3)),
        };
        let status = XdsStatus {
            link: Link::Connected,
            since: at(1),
            last_failure: Some("no route".to_owned()),
            complete_since: Some(at(2)),
            last_nack: Some(Nack {
                at: at(4),
                kind: ResourceType::Address,
                rejected: 1,
                why: "a: no".to_owned(),
            }),
            types: [addresses, TypeStatus::default()],
        };
        let shown = shown(&status);
        assert_eq!(shown["state"], "connected");
        assert_eq!(
            (&shown["since"], &shown["completeSince"]),
            (&json!(1), &json!(2))
        );
        assert_eq!(shown["lastFailure"], "no route");
        let url = ResourceType::Address.url();
        let nack = json!({"at": 4, "type": url, "rejected": 1, "why": "a: no"});
        assert_eq!(shown["lastNack"], nack);
        let held = json!({"resources": 7, "responses": 2, "version": "v1", "lastResponse": 3});
        assert_eq!(shown["types"][url], held);
        assert_eq!(shown["types"].as_object().unwrap().len(), 2);
    }
}
