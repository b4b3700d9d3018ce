#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::json;

use super::*;
use crate::cluster::{Cluster, Fact, Notice};
use crate::facts::{NamespaceFacts, PodFacts, Rules};
use crate::roster::PodsFile;
use crate::selectors::{DATAPLANE_MODE_LABEL, EnablementSelector, Selectors};

fn roster() -> Roster {
    let ambient = json!({"istio.io/dataplane-mode": "ambient"});
    let none = json!({"istio.io/dataplane-mode": "none"});
    let file: PodsFile = serde_json::from_value(json!({
        "namespaces": [{"name": "mesh", "labels": ambient}, {"name": "plain"},
                       {"name": "system", "labels": ambient}],
        "pods": [
            {"namespace": "mesh", "name": "a", "serviceAccount": "sa", "uid": "u1"},
            {"namespace": "mesh", "name": "out", "labels": none},
            {"namespace": "mesh", "name": "odd", "labels": {"istio.io/dataplane-mode": "x"}},
            {"namespace": "plain", "name": "in", "labels": ambient},
            {"namespace": "plain", "name": "b"},
            {"namespace": "system", "name": "in", "labels": ambient},
        ],
    }))
    .unwrap();
    file.try_into().unwrap()
}

/// `expected`: `+` in, `-` out, `?` unknown, and a part of the reason.
fn check(namespace: &str, name: &str, uid: Option<&str>, expected: (char, &str)) {
    let pod = PodRef {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: uid.map(ToOwned::to_owned),
    };
    let decision = decide(Some(&roster()), &["system".to_owned()], &pod);
    let (sign, reason) = match &decision {
        Decision::InMesh(member) => ('+', &member.reason),
        Decision::NotInMesh { reason } => ('-', reason),
        Decision::Unknown { reason } => ('?', reason),
    };
    assert!(
        sign == expected.0 && reason.contains(expected.1),
        "{namespace}/{name}: {decision:?}"
    );
}

#[test]
fn membership_table() {
    check("mesh", "a", Some("u1"), ('+', "namespace mesh is labelled"));
    check("mesh", "a", None, ('+', "namespace mesh is labelled"));
    check(
        "mesh",
        "a",
        Some("u2"),
        ('?', "another pod of the same name"),
    );
    check("mesh", "out", None, ('-', "the pod is labelled"));
    check("mesh", "odd", None, ('+', "namespace mesh is labelled"));
    check(
        "mesh",
        "unlisted",
        None,
        ('?', "does not list pod unlisted"),
    );
    check("plain", "in", None, ('+', "the pod is labelled"));
    check(
        "plain",
        "b",
        None,
        ('-', "neither the pod nor namespace plain"),
    );
    check("plain", "unlisted", None, ('-', "lists neither"));
    check("nowhere", "x", None, ('-', "lists neither"));
    check("system", "in", None, ('-', "excluded by the settings"));
}

#[test]
fn the_service_account_comes_from_the_roster() {
    let pod = PodRef {
        namespace: "mesh".into(),
        name: "a".into(),
        uid: None,
    };
    let Decision::InMesh(member) = decide(Some(&roster()), &[], &pod) else {
        panic!()
    };
    assert_eq!(member.service_account, "sa");
}

#[test]
fn without_a_roster_nothing_is_outside() {
    let pod = PodRef {
        namespace: "plain".into(),
        name: "b".into(),
        uid: None,
    };
    assert!(matches!(decide(None, &[], &pod), Decision::Unknown { .. }));
}

/// What the API server told: namespaces `mesh` (ambient) and `plain`, and some pods of theirs and of
/// `late`, of which it has not told.
fn told(whole: bool) -> Cluster {
    let mut cluster = Cluster::new(Rules::default());
    let mode = |mode: &str| match mode {
        "" => Labels::new(),
        mode => Labels::from([(DATAPLANE_MODE_LABEL.to_owned(), mode.to_owned())]),
    };
    let namespace = |name: &str, label: &str| NamespaceFacts {
        name: name.into(),
        labels: mode(label),
    };
    for notice in [
        Notice::Relisting,
        Notice::Listed(namespace("mesh", "ambient")),
        Notice::Listed(namespace("plain", "")),
        Notice::Complete,
    ] {
        cluster.apply(Fact::Namespace(notice));
    }
    cluster.apply(Fact::Pod(Notice::Relisting));
    for (namespace, name, label) in [
        ("mesh", "a", ""),
        ("mesh", "out", "none"),
        ("mesh", "host", ""),
        ("plain", "b", ""),
        ("plain", "in", "ambient"),
        ("late", "c", ""),
        ("late", "in", "ambient"),
        ("late", "out", "none"),
    ] {
        cluster.apply(Fact::Pod(Notice::Listed(PodFacts {
            namespace: namespace.into(),
            name: name.into(),
            uid: "u1".into(),
            labels: mode(label),
            host_network: name == "host",
            ..PodFacts::default()
        })));
    }
    if whole {
        cluster.apply(Fact::Pod(Notice::Complete));
    }
    cluster
}

fn signed(decision: &Decision) -> char {
    match decision {
        Decision::InMesh(_) => '+',
        Decision::NotInMesh { .. } => '-',
        Decision::Unknown { .. } => '?',
    }
}

fn pod(text: &str) -> PodRef {
    let (namespace, name) = text.split_once('/').unwrap();
    PodRef {
        namespace: namespace.into(),
        name: name.into(),
        uid: Some("u1".into()),
    }
}

#[test]
fn what_the_api_server_told_decides() {
    let excluded = ["system".to_owned()];
    let whole = told(true).roster();
    for (name, sign, part) in [
        ("mesh/a", '+', "namespace mesh is labelled"),
        ("mesh/out", '-', "the pod is labelled"),
        ("mesh/host", '-', "hostNetwork"),
        (
            "mesh/nobody",
            '?',
            "API server has not told of pod mesh/nobody",
        ),
        ("plain/b", '-', "neither the pod nor namespace plain"),
        ("plain/in", '+', "the pod is labelled"),
        ("plain/nobody", '?', "API server has not told of pod"),
        ("late/c", '?', "has not told of namespace late"),
        ("late/in", '+', "the pod is labelled"),
        ("late/out", '-', "the pod is labelled"),
        ("system/x", '-', "excluded by the settings"),
    ] {
        let decision = decide(Some(&whole), &excluded, &pod(name));
        let reason = decision.reason();
        assert!(
            signed(&decision) == sign && reason.contains(part),
            "{name}: {decision:?}"
        );
        assert!(!reason.contains("pods file"), "{name}: {reason}");
    }
    let partial = told(false).roster();
    let decision = decide(Some(&partial), &excluded, &pod("plain/nobody"));
    assert!(
        decision.reason().contains("has not told yet"),
        "{decision:?}"
    );
    let another = PodRef {
        uid: Some("u2".into()),
        ..pod("mesh/a")
    };
    let decision = decide(Some(&whole), &excluded, &another);
    assert!(
        signed(&decision) == '?' && decision.reason().contains("uid u1"),
        "{decision:?}"
    );
}

#[test]
fn a_late_answer_decides_like_an_early_one() {
    let roster = told(true).roster();
    let ambient = Labels::from([(DATAPLANE_MODE_LABEL.to_owned(), "ambient".to_owned())]);
    let answer = |name: &str, namespace: Option<&Labels>| Asked::Pod {
        pod: Box::new(Rules::default().listed(PodFacts {
            namespace: name.split('/').next().unwrap().into(),
            name: "new".into(),
            uid: "u1".into(),
            ..PodFacts::default()
        })),
        namespace: namespace.cloned(),
    };
    let none = Labels::new();
    for (name, asked, sign) in [
        ("mesh/new", answer("mesh/new", None), '+'),
        ("plain/new", answer("plain/new", None), '-'),
        ("late/new", answer("late/new", None), '?'),
        ("late/new", answer("late/new", Some(&ambient)), '+'),
        // What was asked just now is newer than what was told.
        ("mesh/new", answer("mesh/new", Some(&none)), '-'),
        ("plain/gone", Asked::NoSuchPod, '?'),
    ] {
        let decision = decide_asked(Some(&roster), &[], &pod(name), &asked, OnUnknown::Start);
        assert_eq!(signed(&decision), sign, "{name}: {decision:?}");
    }
    let excluded = ["late".to_owned()];
    let asked = answer("late/new", Some(&ambient));
    let decision = decide_asked(None, &excluded, &pod("late/new"), &asked, OnUnknown::Fail);
    assert_eq!(signed(&decision), '-');
}

#[test]
fn without_an_answer_the_namespace_decides_and_then_the_setting() {
    let roster = told(true).roster();
    let no_answer = Asked::NoAnswer {
        why: "no route".into(),
    };
    let by_namespaces_only: Vec<EnablementSelector> = serde_json::from_value(json!([
        {"namespaceSelector": {"matchLabels": {"istio.io/dataplane-mode": "ambient"}}},
    ]))
    .unwrap();
    let selectors = Selectors::new(by_namespaces_only).unwrap();
    let strict = roster.clone().selecting(selectors.into());
    for (roster, name, fail, start) in [
        (&roster, "mesh/x", '?', '?'),
        (&roster, "plain/x", '?', '-'),
        (&roster, "late/x", '?', '-'),
        // Where pods have no say of their own, a namespace that is out is out.
        (&strict, "plain/x", '-', '-'),
        (&strict, "mesh/x", '?', '?'),
        (&strict, "late/x", '?', '-'),
    ] {
        for (setting, sign) in [(OnUnknown::Fail, fail), (OnUnknown::Start, start)] {
            let decision = decide_asked(Some(roster), &[], &pod(name), &no_answer, setting);
            assert_eq!(signed(&decision), sign, "{name} {setting:?}: {decision:?}");
        }
    }
    let decision = decide_asked(
        Some(&roster),
        &[],
        &pod("late/x"),
        &no_answer,
        OnUnknown::Fail,
    );
    let reason = decision.reason();
    assert!(
        reason.contains("no route") && reason.contains("onUnknownPod"),
        "{reason}"
    );
}
