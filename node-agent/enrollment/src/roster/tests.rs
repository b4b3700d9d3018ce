#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::json;

use super::*;

fn file(document: serde_json::Value) -> PodsFile {
    serde_json::from_value(document).unwrap()
}

fn roster(document: serde_json::Value) -> Result<Roster, RosterMistakes> {
    file(document).try_into()
}

#[test]
fn a_good_file_is_indexed() {
    let roster = roster(json!({
        "namespaces": [{"name": "shop", "labels": {"istio.io/dataplane-mode": "ambient"}}],
        "pods": [{"namespace": "shop", "name": "cart-0", "serviceAccount": "cart", "uid": "u1"},
                 {"namespace": "shop", "name": "web-0"}],
    }))
    .unwrap();
    assert_eq!(roster.pod_count(), 2);
    assert_eq!(
        roster.pod("shop", "cart-0").unwrap().service_account,
        "cart"
    );
    assert_eq!(
        roster.pod("shop", "web-0").unwrap().service_account,
        "default"
    );
    assert_eq!(roster.pod("shop", "nobody"), None);
    assert!(roster.namespace_labels("shop").is_some() && roster.namespace_labels("x").is_none());
}

#[test]
fn every_mistake_is_reported_with_its_place() {
    let mistakes = roster(json!({
        "namespaces": [{"name": "shop"}, {"name": "shop"}, {"name": ""}],
        "pods": [{"namespace": "shop", "name": "a"}, {"namespace": "shop", "name": "a"},
                 {"namespace": "shop", "name": "b", "serviceAccount": "x/ns/other/sa/y"}],
    }))
    .unwrap_err();
    let expected = [
        "namespaces[1]",
        "namespaces[2].name",
        "pods[1]",
        "pods[2].serviceAccount",
    ];
    assert_eq!(mistakes.0.len(), expected.len(), "{mistakes}");
    for (mistake, place) in mistakes.0.iter().zip(expected) {
        assert!(mistake.starts_with(place), "{mistake}");
    }
}

#[test]
fn a_pod_that_runs_says_where() {
    let listed = roster(json!({"pods": [
        {"namespace": "shop", "name": "cart-0", "netns": "/run/netns/x", "containerId": "c1",
         "addresses": ["10.0.0.7", "::ffff:10.0.0.8", "fd00::7"]},
        {"namespace": "shop", "name": "web-0", "addresses": ["10.0.0.9"]},
    ]}))
    .unwrap();
    let place = listed.pod("shop", "cart-0").unwrap().place().unwrap();
    assert_eq!(place.attachment.to_string(), "c1/eth0");
    assert_eq!(place.netns, "/run/netns/x");
    let addresses: Vec<String> = place.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.7", "10.0.0.8", "fd00::7"]);
    assert_eq!(listed.pod("shop", "web-0").unwrap().place(), None);

    let halves = roster(json!({"pods": [
        {"namespace": "shop", "name": "a", "netns": "netns/x", "ifname": ""},
    ]}))
    .unwrap_err();
    let expected = ["netns: ", "addresses: ", "containerId: ", "ifname: "];
    assert_eq!(halves.0.len(), expected.len(), "{halves}");
    for (mistake, field) in halves.0.iter().zip(expected) {
        assert!(
            mistake.starts_with(&format!("pods[0].{field}")),
            "{mistake}"
        );
    }
}

#[test]
fn unknown_fields_are_refused() {
    let slip = json!({"pods": [{"namespace": "a", "name": "b", "serviceaccount": "c"}]});
    let error = serde_json::from_value::<PodsFile>(slip)
        .unwrap_err()
        .to_string();
    assert!(error.contains("serviceaccount"), "{error}");
}
