#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;

/// A pod of namespace `n`, written `name` or `name/uid`.
fn pod(text: &str) -> PodFacts {
    let (name, uid) = text.split_once('/').unwrap_or((text, "u"));
    PodFacts {
        namespace: "n".into(),
        name: name.into(),
        uid: uid.into(),
        ..PodFacts::default()
    }
}

fn namespace(name: &str, mode: &str) -> NamespaceFacts {
    let label = ("istio.io/dataplane-mode".to_owned(), mode.to_owned());
    NamespaceFacts {
        name: name.into(),
        labels: Labels::from([label, ("unused".into(), "x".into())]),
    }
}

/// Notices of pods, a word each: `[` a list begins, `]` it is complete, `x` in the list, `+x`
/// applied, `-x` deleted.
fn hear(cluster: &mut Cluster, script: &str) -> Vec<Effect> {
    let notice = |word: &str| match word.split_at(1) {
        ("[", "") => Notice::Relisting,
        ("]", "") => Notice::Complete,
        ("+", name) => Notice::Applied(pod(name)),
        ("-", name) => Notice::Deleted(pod(name)),
        _ => Notice::Listed(pod(word)),
    };
    let words = script.split_whitespace();
    words
        .map(|word| cluster.apply(Fact::Pod(notice(word))))
        .collect()
}

fn names(cluster: &Cluster) -> String {
    let roster = cluster.roster();
    let all: Vec<&str> = roster.pods().map(|pod| pod.name.as_str()).collect();
    all.join(" ")
}

#[test]
fn what_is_known_after_which_notices() {
    for (script, expected) in [
        ("", ""),
        ("[ a b ]", "a b"),
        ("[ a b ] +c -a", "b c"),
        // A list that is under way forgets nobody, and neither does one that breaks off.
        ("[ a b ] [ a", "a b"),
        ("[ a b ] [ a [ b", "a b"),
        ("[ a b ] [ a ]", "a"),
        ("[ a b ] [ a [ b ]", "b"),
        ("[ a b ] [ ]", ""),
        // What comes while it is under way counts.
        ("[ a b ] [ a +c ]", "a c"),
        ("[ a b ] [ a b -b ]", "a"),
        // The end of no list says nothing.
        ("+a ]", "a"),
        // The old one of two of the same name goes after the new one has come.
        ("[ a/1 ] +a/2 -a/1", "a"),
        ("[ a/1 ] +a/2 -a/2", ""),
        ("-a", ""),
    ] {
        let mut cluster = Cluster::default();
        hear(&mut cluster, script);
        assert_eq!(names(&cluster), expected, "{script}");
        assert_eq!(cluster.counts().pods, expected.split_whitespace().count());
    }
}

#[test]
fn only_a_change_is_one() {
    use Effect::{Changed, None};
    let mut cluster = Cluster::default();
    let effects = hear(&mut cluster, "[ a ] [ a ] +a -b [ ] [ ]");
    let expected = [
        None, Changed, Changed, // the first list is one even if it brought nothing new
        None, None, None, None, None, None, Changed, None, None,
    ];
    assert_eq!(effects, expected);
}

#[test]
fn it_is_whole_once_both_kinds_were_listed_and_stays_so() {
    let mut cluster = Cluster::default();
    let progress = |cluster: &Cluster| cluster.roster().source();
    hear(&mut cluster, "[ a ]");
    assert_eq!(progress(&cluster), Source::Kubernetes(Progress::Partial));
    for notice in [Notice::Relisting, Notice::Listed(namespace("n", "ambient"))] {
        cluster.apply(Fact::Namespace(notice));
        assert_eq!(progress(&cluster), Source::Kubernetes(Progress::Partial));
    }
    cluster.apply(Fact::Namespace(Notice::Complete));
    assert_eq!(progress(&cluster), Source::Kubernetes(Progress::Whole));
    hear(&mut cluster, "[");
    assert_eq!(progress(&cluster), Source::Kubernetes(Progress::Whole));
}

#[test]
fn namespaces_keep_only_what_is_asked_for() {
    let mut cluster = Cluster::default();
    let apply = |cluster: &mut Cluster, mode| {
        cluster.apply(Fact::Namespace(Notice::Applied(namespace("n", mode))))
    };
    assert_eq!(apply(&mut cluster, "ambient"), Effect::Changed);
    assert_eq!(apply(&mut cluster, "ambient"), Effect::None);
    let roster = cluster.roster();
    assert_eq!(roster.namespace_labels("n").unwrap().len(), 1);
    assert_eq!(apply(&mut cluster, "none"), Effect::Changed);
    let before = roster.namespace_labels("n").unwrap();
    assert_eq!(
        before["istio.io/dataplane-mode"], "ambient",
        "a copy stays as it was"
    );
}

#[test]
fn where_a_pod_runs_is_kept_for_as_long_as_it_is_the_same_pod() {
    let mut cluster = Cluster::default();
    hear(&mut cluster, "[ a/1 ]");
    let found = |sandbox: Option<&str>| Fact::Found {
        uid: "1".into(),
        place: Some(FoundPlace {
            netns: "/run/netns/x".into(),
            sandbox: sandbox.map(ToOwned::to_owned),
        }),
    };
    let place = |cluster: &Cluster| cluster.roster().pod("n", "a").and_then(ListedPod::place);
    assert_eq!(place(&cluster), None);
    assert_eq!(cluster.apply(found(None)), Effect::Changed);
    assert_eq!(cluster.apply(found(None)), Effect::None);
    let assumed = place(&cluster).unwrap().attachment;
    assert!(assumed.is_assumed(), "{assumed}");
    cluster.apply(found(Some("c")));
    assert_eq!(place(&cluster).unwrap().attachment.to_string(), "c/eth0");

    hear(&mut cluster, "+a/1 [ a/1 ]");
    assert_eq!(place(&cluster).unwrap().netns, "/run/netns/x");
    hear(&mut cluster, "+a/2");
    assert_eq!(place(&cluster), None, "another pod of the same name");
    assert_eq!(cluster.apply(found(None)), Effect::None, "it is gone");

    hear(&mut cluster, "+a/1");
    cluster.apply(found(None));
    let lost = Fact::Found {
        uid: "1".into(),
        place: None,
    };
    assert_eq!(cluster.apply(lost), Effect::Changed);
    assert_eq!(place(&cluster), None);
}
