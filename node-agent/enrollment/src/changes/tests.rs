#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::life::{Step, Traffic};
use crate::record::NamespaceId;
use crate::roster::PodsFile;

fn roster(pods: &Value) -> Roster {
    let file: PodsFile = serde_json::from_value(json!({
        "namespaces": [{"name": "mesh", "labels": {"istio.io/dataplane-mode": "ambient"}}],
        "pods": pods,
    }))
    .unwrap();
    file.try_into().unwrap()
}

/// A pod of the file, which runs.
fn listed(namespace: &str, name: &str) -> Value {
    json!({"namespace": namespace, "name": name, "netns": format!("/run/netns/{name}"),
           "addresses": ["10.0.0.7"], "containerId": format!("c-{name}")})
}

fn entry(namespace: &str, name: &str, stage: Stage) -> Entry {
    Entry {
        record: Arc::new(PodRecord {
            attachment: AttachmentKey {
                container_id: format!("c-{name}"),
                ifname: "eth0".into(),
            },
            pod: PodRef {
                namespace: namespace.into(),
                name: name.into(),
                uid: Some("u".into()),
            },
            service_account: "default".into(),
            netns: Some(format!("/run/netns/{name}")),
            namespace_id: NamespaceId {
                device: 1,
                inode: 2,
            },
            addresses: Vec::new(),
            plan: Value::Null,
        }),
        stage,
        admitted: true,
    }
}

/// Action and pod, and a part of the reason; pods about which nothing is to be done are left out
/// unless nothing at all is.
fn told(pods: &[Value], table: &[Entry]) -> Vec<String> {
    let all = changes(&roster(&json!(pods)), &["system".to_owned()], table);
    all.iter()
        .map(|change| {
            let action = match &change.action {
                Action::Enrol(member, place) => {
                    format!("enrol {} {}", member.service_account, place.attachment)
                }
                Action::Rejoin(key) => format!("rejoin {key}"),
                Action::Unenrol(key) => format!("unenrol {key}"),
                Action::Await => "await".to_owned(),
                Action::Nothing => "nothing".to_owned(),
            };
            format!("{}: {action}", change.pod)
        })
        .collect()
}

const IN: Stage = Stage::Enrolled(Traffic::Ready);

#[test]
fn what_has_to_change() {
    let nowhere = json!({"namespace": "mesh", "name": "a"});
    let out =
        json!({"namespace": "mesh", "name": "a", "labels": {"istio.io/dataplane-mode": "none"}});
    let elsewhere = json!({"namespace": "mesh", "name": "a", "netns": "/run/netns/new",
                           "addresses": ["10.0.0.8"], "containerId": "new"});
    let other_uid = json!({"namespace": "mesh", "name": "a", "uid": "u2", "netns": "/run/netns/new",
                           "addresses": ["10.0.0.8"], "containerId": "new"});
    let a = || listed("mesh", "a");
    let held = Stage::Enrolled(Traffic::Held);
    let cases: Vec<(Vec<Value>, Option<Entry>, &[&str])> = vec![
        (vec![], None, &[]),
        (vec![a()], None, &["mesh/a: enrol default c-a/eth0"]),
        (vec![nowhere.clone()], None, &["mesh/a: await"]),
        (vec![out.clone()], None, &[]),
        (vec![listed("plain", "b"), listed("system", "c")], None, &[]),
        // In, and to stay in.
        (
            vec![a()],
            Some(entry("mesh", "a", IN)),
            &["mesh/a: nothing"],
        ),
        (
            vec![nowhere],
            Some(entry("mesh", "a", IN)),
            &["mesh/a: nothing"],
        ),
        // In, and to go out, however it came in.
        (
            vec![out.clone()],
            Some(entry("mesh", "a", IN)),
            &["mesh/a: unenrol c-a/eth0"],
        ),
        (
            vec![out.clone()],
            Some(entry("mesh", "a", held)),
            &["mesh/a: unenrol c-a/eth0"],
        ),
        (
            vec![],
            Some(entry("plain", "b", IN)),
            &["plain/b: unenrol c-b/eth0"],
        ),
        (
            vec![],
            Some(entry("system", "c", IN)),
            &["system/c: unenrol c-c/eth0"],
        ),
        // Its entry is gone although its namespace is ambient: deleted soon, most likely.
        (vec![], Some(entry("mesh", "a", IN)), &["mesh/a: nothing"]),
        // On its way.
        (
            vec![a()],
            Some(entry("mesh", "a", Stage::Opening)),
            &["mesh/a: nothing"],
        ),
        (
            vec![a()],
            Some(entry("mesh", "a", Stage::Joining(Step::Rules))),
            &["mesh/a: nothing"],
        ),
        (
            vec![out.clone()],
            Some(entry("mesh", "a", Stage::Restoring)),
            &["mesh/a: nothing"],
        ),
        (
            vec![out],
            Some(entry("mesh", "a", Stage::Draining)),
            &["mesh/a: nothing"],
        ),
        (
            vec![a()],
            Some(entry("mesh", "a", Stage::Leaving(Vec::new()))),
            &["mesh/a: nothing"],
        ),
        (
            vec![a()],
            Some(entry("mesh", "a", Stage::Draining)),
            &["mesh/a: rejoin c-a/eth0"],
        ),
        // A sandbox that came without the plugin.
        (
            vec![elsewhere.clone()],
            Some(entry("mesh", "a", IN)),
            &["mesh/a: nothing", "mesh/a: enrol default new/eth0"],
        ),
        (
            vec![elsewhere],
            Some(entry("mesh", "a", Stage::Opening)),
            &["mesh/a: nothing"],
        ),
        // Another pod of the same name: what the table has cannot be told.
        (
            vec![other_uid],
            Some(entry("mesh", "a", IN)),
            &["mesh/a: nothing", "mesh/a: enrol default new/eth0"],
        ),
    ];
    for (number, (pods, entry, expected)) in cases.iter().enumerate() {
        let table: Vec<Entry> = entry.iter().cloned().collect();
        assert_eq!(&told(pods, &table), expected, "case {number}");
    }
}

#[test]
fn a_reason_is_given() {
    let roster = roster(&json!([{"namespace": "mesh", "name": "a"}, listed("mesh", "b")]));
    let table = [entry("plain", "c", IN)];
    let reasons: Vec<String> = changes(&roster, &[], &table)
        .into_iter()
        .map(|change| change.reason)
        .collect();
    assert_eq!(reasons.len(), 3);
    for (reason, part) in reasons.iter().zip([
        "lists neither",
        "when the runtime adds it",
        "namespace mesh",
    ]) {
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn what_the_api_server_told_and_the_node_showed() {
    use crate::cluster::{Cluster, Fact, FoundPlace, Notice};
    use crate::facts::{PodFacts, Rules};
    use crate::selectors::DATAPLANE_MODE_LABEL;

    let mut cluster = Cluster::new(Rules::default());
    let mut apply = |address: Option<&str>| {
        let label = (DATAPLANE_MODE_LABEL.to_owned(), "ambient".to_owned());
        let facts = PodFacts {
            namespace: "n".into(),
            name: "a".into(),
            uid: "u".into(),
            labels: [label].into(),
            addresses: address.iter().map(|text| text.parse().unwrap()).collect(),
            ..PodFacts::default()
        };
        cluster.apply(Fact::Pod(Notice::Applied(facts)));
        cluster.roster()
    };
    let actions = |roster: &Roster, table: &[Entry]| -> Vec<(Action, String)> {
        let all = changes(roster, &[], table);
        all.into_iter().map(|c| (c.action, c.reason)).collect()
    };
    assert_eq!(
        actions(&apply(None), &[]),
        [],
        "the runtime is about to add it"
    );
    let runs = apply(Some("10.0.0.7"));
    let [(Action::Await, reason)] = &actions(&runs, &[])[..] else {
        panic!()
    };
    assert!(reason.contains("not found on the node"), "{reason}");

    let place = FoundPlace {
        netns: "/run/netns/x".into(),
        sandbox: None,
    };
    cluster.apply(Fact::Found {
        uid: "u".into(),
        place: Some(place),
    });
    let found = cluster.roster();
    let [(Action::Enrol(_, place), _)] = &actions(&found, &[])[..] else {
        panic!()
    };
    assert_eq!(place.netns, "/run/netns/x");
    // What the runtime added since is not replaced by what was found before.
    let added = entry("n", "a", IN);
    let [(Action::Nothing, _)] = &actions(&found, &[added])[..] else {
        panic!()
    };
}
