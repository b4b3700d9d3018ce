//! The demo, as a person runs it, and the data it writes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use e2e_tests::programs::ours;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

const CLIENT: &str = "spiffe://cluster.local/ns/demo/sa/client";
const SERVER: &str = "spiffe://cluster.local/ns/demo/sa/server";

fn demo() -> Value {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("demo.json");
    let bin = ours("ambient-agent").unwrap();
    // The directory as it was named, not where its links lead.
    let bin = std::env::var_os("AMBIENT_BIN")
        .map_or_else(|| bin.parent().unwrap().to_owned(), Into::into);
    let output = Command::new(ours("lab").unwrap())
        .args(["demo", "--json"])
        .arg(&file)
        .arg("--bin")
        .arg(bin)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}\n{shown}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    // What a person is told is what the data says.
    assert!(
        shown.contains(CLIENT) && shown.contains("none allowed"),
        "{shown}"
    );
    serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap()
}

fn names(list: &Value) -> BTreeSet<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

#[test]
fn the_demo_shows_identities_denials_and_nothing_in_clear() {
    let demo = demo();
    assert_eq!(
        (&demo["ok"], &demo["problems"]),
        (&true.into(), &Value::Array(vec![]))
    );
    let (made, failed) = (&demo["requests"]["made"], &demo["requests"]["failed"]);
    assert!(
        made.as_u64().unwrap() >= 8 && failed == 0,
        "{made} made, {failed} failed"
    );

    let kinds = ["service-address", "pod-address", "server-first", "own-tls"];
    assert_eq!(names(&demo["kinds"]), BTreeSet::from(kinds));
    assert_eq!(names(&demo["families"]), BTreeSet::from(["ipv4", "ipv6"]));
    // Not only named: each kind was called in each family, and every call was answered.
    for kind in kinds {
        for family in ["ipv4", "ipv6"] {
            let calls = demo["calls"].as_array().unwrap();
            let call = calls
                .iter()
                .find(|call| call["kind"] == kind && call["family"] == family);
            let call = call.unwrap_or_else(|| panic!("no {kind} over {family}"));
            assert!(
                call["made"].as_u64().unwrap() > 0 && call["failed"] == 0,
                "{call}"
            );
        }
    }

    for side in ["client_side", "server_side"] {
        let pair = &demo["identities"][side];
        assert_eq!(
            (&pair["source"], &pair["destination"]),
            (&CLIENT.into(), &SERVER.into()),
            "{side}"
        );
    }
    assert_eq!(
        &demo["identities"]["access_lines"], made,
        "each call has its line on the server's side"
    );

    for (who, identity) in [
        ("denied", "spiffe://cluster.local/ns/demo/sa/denied"),
        ("outsider", ""),
    ] {
        let refused = &demo[who];
        assert_eq!(refused["made"], refused["refused"], "{who}");
        assert!(refused["made"].as_u64().unwrap() > 0, "{refused}");
        let reason = refused["reason"].as_str().unwrap();
        assert_eq!(
            reason,
            "connection closed due to policy rejection: allow policies exist, but none allowed"
        );
        assert_eq!(refused["identity"], identity, "{who}");
    }

    assert_eq!(
        demo["clear_payload_occurrences"], 0,
        "payload of the mesh seen on the wire"
    );
    assert!(
        demo["control_occurrences"].as_u64().unwrap() > 0,
        "the search finds nothing at all"
    );
    let ports = demo["ports"].as_array().unwrap();
    for family in ["ipv4", "ipv6"] {
        let tunnelled = |port: &&Value| port["port"] == 15008 && port["family"] == family;
        assert!(
            ports.iter().find(tunnelled).unwrap()["bytes"]
                .as_u64()
                .unwrap()
                > 10_000,
            "{ports:?}"
        );
    }
}
