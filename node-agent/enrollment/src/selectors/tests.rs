#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::{Value, json};

use super::*;

fn labels(text: &str) -> Labels {
    let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn custom(document: Value) -> Selectors {
    Selectors::new(serde_json::from_value(document).unwrap()).unwrap()
}

/// `+` in, `-` out, `?` it depends on the namespace.
fn sign(selectors: &Selectors, pod: &str, namespace: Option<&str>) -> char {
    let namespace = namespace.map(labels);
    match selectors.select(&labels(pod), "n", namespace.as_ref()) {
        Selected::Yes(_) => '+',
        Selected::No(_) => '-',
        Selected::NamespaceUnknown => '?',
    }
}

#[test]
fn the_usual_two() {
    let usual = Selectors::default();
    let (ambient, none) = (
        "istio.io/dataplane-mode=ambient",
        "istio.io/dataplane-mode=none",
    );
    for (pod, namespace, expected) in [
        ("", Some(""), '-'),
        ("", Some(ambient), '+'),
        ("", None, '?'),
        (ambient, Some(""), '+'),
        (ambient, Some(none), '+'),
        (ambient, None, '+'),
        (none, Some(ambient), '-'),
        (none, None, '-'),
        ("istio.io/dataplane-mode=x", Some(ambient), '+'),
        ("a=b", Some("istio.io/dataplane-mode=Ambient"), '-'),
    ] {
        assert_eq!(
            sign(&usual, pod, namespace),
            expected,
            "{pod} {namespace:?}"
        );
    }
    for (namespace, expected) in [
        (ambient, NamespaceSays::In),
        ("", NamespaceSays::Nothing),
        (none, NamespaceSays::Nothing),
    ] {
        assert_eq!(usual.namespace_says(&labels(namespace)), expected);
    }
}

#[test]
fn ones_own_selectors() {
    let own = custom(json!([{
        "podSelector": {"matchLabels": {"app": "a"}, "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["x", "y"]},
            {"key": "old", "operator": "DoesNotExist"},
        ]},
        "namespaceSelector": {"matchExpressions": [{"key": "mesh", "operator": "Exists"}]},
    }]));
    for (pod, namespace, expected) in [
        ("app=a tier=x", Some("mesh=1"), '+'),
        ("app=a tier=x old=1", Some("mesh=1"), '-'),
        ("app=a tier=z", Some("mesh=1"), '-'),
        ("app=a", Some("mesh=1"), '-'),
        ("app=b tier=x", Some("mesh=1"), '-'),
        ("app=a tier=y", Some(""), '-'),
        ("app=a tier=y", None, '?'),
        ("app=b", None, '-'),
    ] {
        assert_eq!(sign(&own, pod, namespace), expected, "{pod} {namespace:?}");
    }
    // Every selector asks something of the namespace, so one without that label is out for good.
    assert_eq!(own.namespace_says(&labels("")), NamespaceSays::Out);
    assert_eq!(own.namespace_says(&labels("mesh=")), NamespaceSays::In);

    assert_eq!(sign(&custom(json!([])), "", Some("")), '-');
    assert_eq!(sign(&custom(json!([{}])), "", None), '+', "all pods");
}

#[test]
fn reasons_name_what_selected() {
    let own = custom(json!([{"podSelector": {"matchLabels": {"no": "no"}}}, {}]));
    let Selected::Yes(reason) = own.select(&Labels::new(), "shop", None) else {
        unreachable!()
    };
    assert!(
        reason.contains("selector 2") && reason.contains("shop"),
        "{reason}"
    );
    let Selected::No(reason) = custom(json!([])).select(&Labels::new(), "shop", None) else {
        unreachable!()
    };
    assert!(reason.contains("no selector"), "{reason}");
}

#[test]
fn what_no_selector_asks_for_is_not_kept() {
    let mut all = labels("app=a tier=x old=1 istio.io/dataplane-mode=ambient other=1");
    let own = custom(json!([{
        "podSelector": {"matchExpressions": [{"key": "tier", "operator": "Exists"}]},
        "namespaceSelector": {"matchLabels": {"app": "z"}},
    }]));
    own.keep_what_is_asked_for(&mut all);
    assert_eq!(all, labels("app=a tier=x"));
}

#[test]
fn a_selector_without_sense_is_refused_with_its_place() {
    for (operator, values) in [("In", json!([])), ("Exists", json!(["x"]))] {
        let document = json!([{}, {"podSelector": {"matchExpressions": [
            {"key": "k", "operator": operator, "values": values},
        ]}}]);
        let list = serde_json::from_value(document).unwrap();
        let mistake = Selectors::new(list).unwrap_err().to_string();
        assert!(
            mistake.contains("selector 2") && mistake.contains("\"k\""),
            "{mistake}"
        );
    }
}
