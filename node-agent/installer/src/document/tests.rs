#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use cni_plugin_spec::{NetworkConfig, Verb};
use serde_json::{Value, json};

use super::*;
use crate::testing::{entry, other_entry};

const CALICO: &str = include_str!("../../tests/lists/10-calico.conflist");
const TABS: &str = "{\r\n\t\"name\":\t\"n\",\r\n\t\"cniVersion\": \"1.1.0\",\r\n\t\"plugins\": [\r\n\t\t{\"type\": \"x\"}\r\n\t]\r\n}";
const ODD: &str = " {\"plugins\" :[ {\"type\" :\"a\",\"x\":[1 , 2]} ,{ \"type\":\"b\" }\n] ,\n\n\"_comment\":\"[{}] \\\"plugins\\\"\", \"cniVersion\":\"0.4.0\", \"disableCheck\":true,\"name\":\"n\", \"nums\": 1.50e3 }\n\n";
const ONE_LINE: &str = r#"{"cniVersion":"0.3.1","name":"n","plugins":[{"type":"a"}]}"#;

fn list(text: &str) -> List<'_> {
    List::read(text).unwrap_or_else(|why| panic!("{why:?}: {text}"))
}

/// What a runtime makes of each plugin's part before it hands it over.
pub(crate) fn as_handed_over(text: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(text).unwrap();
    let mut parts = document["plugins"].as_array().unwrap().clone();
    for part in &mut parts {
        part["name"] = document["name"].clone();
        part["cniVersion"] = document["cniVersion"].clone();
        part["prevResult"] = json!({"cniVersion": document["cniVersion"]});
    }
    parts
}

#[test]
fn what_is_not_ours_stays_to_the_byte_and_comes_back_to_the_byte() {
    for text in [CALICO, TABS, ODD, ONE_LINE] {
        let with = list(text).with(&entry()).unwrap();
        let parts = as_handed_over(&with);
        let before = as_handed_over(text);
        assert_eq!(parts[..parts.len() - 1], before[..], "{with}");
        let last = parts.last().unwrap().to_string();
        let config = NetworkConfig::parse(last.as_bytes(), Verb::Add).unwrap();
        let socket: Option<String> = config.member("agent_socket").unwrap();
        assert_eq!(socket.as_deref(), Some("/run/ambient/agent.sock"));
        assert_eq!(list(&with).without(), text, "{with}");
        assert_eq!(list(&with).with(&entry()), None, "{with}");
        // A line that was there is there.
        for line in text.lines() {
            assert!(
                with.contains(line.trim_end_matches(&['}', ']'][..])),
                "{line}"
            );
        }
    }
}

#[test]
fn our_entry_is_laid_out_like_its_neighbours() {
    let with = list(TABS).with(&entry()).unwrap();
    assert!(
        with.contains("{\"type\": \"x\"},\r\n\t\t{\r\n\t\t\t\"type\": \"ambient-cni\",\r\n"),
        "{with}"
    );
    let with = list(CALICO).with(&entry()).unwrap();
    assert!(
        with.contains(",\n    {\n      \"type\": \"ambient-cni\",\n"),
        "{with}"
    );
    let with = list(ONE_LINE).with(&entry()).unwrap();
    assert!(
        with.contains(r#"{"type":"a"},{"type":"ambient-cni","agent_socket""#),
        "{with}"
    );
}

#[test]
fn our_entry_is_changed_in_its_place() {
    let with = list(CALICO).with(&entry()).unwrap();
    let other = list(&with).with(&other_entry()).unwrap();
    assert!(other.contains("/elsewhere.sock"), "{other}");
    assert_eq!(list(&other).without(), CALICO);
    assert_eq!(list(&other).with(&entry()), Some(with));
}

#[test]
fn our_entry_is_there_once_and_never_first() {
    let ours = r#"{"type":"ambient-cni"}"#;
    for plugins in [
        format!(r#"{ours}, {{"type":"a"}}"#),
        format!(r#"{ours},{ours}, {{"type":"a"}}"#),
        format!(r#"{{"type":"a"}}, {ours} , {ours}"#),
        format!(r#"{ours}, {{"type":"a"}}, {ours}"#),
    ] {
        let text = format!(r#"{{"name":"n","cniVersion":"1.0.0","plugins":[{plugins}]}}"#);
        let with = list(&text).with(&entry()).unwrap();
        let parts = as_handed_over(&with);
        let kinds: Vec<_> = parts.iter().map(|p| p["type"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["a", "ambient-cni"], "{text}");
        let bare = list(&text).without();
        assert_eq!(as_handed_over(&bare).len(), 1, "{bare}");
    }
    // Behind us somebody else may stand, who would do the same.
    let last = format!(r#"{{"name":"n","plugins":[{{"type":"a"}},{ours},{{"type":"b"}}]}}"#);
    let with = list(&last).with(&entry()).unwrap();
    assert!(with.ends_with(r#"},{"type":"b"}]}"#), "{with}");
}

#[test]
fn a_list_of_nobody_else_is_left_alone() {
    let text = r#"{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"ambient-cni"}]}"#;
    assert_eq!(list(text).with(&entry()), None);
    assert_eq!(list(text).without(), text);
}

#[test]
fn what_runtimes_refuse_is_refused() {
    for (name, text, expected) in [
        ("a.conflist", "", "no configuration"),
        ("a.conflist", "# no JSON", "no configuration"),
        ("a.conflist", "// a\n{\"name\":\"n\"}", "no configuration"),
        ("a.conflist", "[]", "no configuration"),
        ("a.conflist", "{\"name\":\"n\",\"plug", "no configuration"),
        ("a.conflist", r#"{"plugins":[{"type":"a"}]}"#, "no \"name\""),
        ("a.conflist", r#"{"name":"n"}"#, "no \"plugins\""),
        (
            "a.conflist",
            r#"{"name":"n","plugins":[]}"#,
            "no \"plugins\"",
        ),
        (
            "a.conflist",
            r#"{"name":"n","plugins":{}}"#,
            "no configuration",
        ),
        (
            "a.conflist",
            r#"{"name":"n","plugin":[{"type":"a"}]}"#,
            "no \"plugins\"",
        ),
        (
            "a.conflist",
            r#"{"name":"n","plugins":[{}]}"#,
            "no \"type\"",
        ),
        (
            "a.conf",
            r#"{"name":"n","plugins":[{"type":"a"}]}"#,
            "no \"type\"",
        ),
        ("a.json", r#"{"name":"n"}"#, "no \"type\""),
    ] {
        match Document::read(name, text) {
            Err(Unusable::Invalid(why)) => assert!(why.contains(expected), "{text}: {why}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let twice = r#"{"name":"n","plugins":[{"type":"a"}],"plugins":[{"type":"b"}]}"#;
    assert!(matches!(
        Document::read("a.conflist", twice),
        Err(Unusable::Unclear(_))
    ));
}

#[test]
fn versions_must_be_spoken() {
    for (versions, good) in [
        (r#""cniVersion":"0.3.0""#, true),
        (r#""cniVersion":"1.1.0""#, true),
        (
            r#""cniVersion":"1.0.0","cniVersions":["0.4.0","1.1.0"]"#,
            true,
        ),
        (r#""cniVersions":["1.0.0"]"#, true),
        (r#""cniVersion":"1.0.0","cniVersions":["1.2.0"]"#, false),
        (r#""cniVersion":"0.2.0""#, false),
        (r#""cniVersion":"""#, false),
        (r#""x":1"#, false),
    ] {
        let text = format!(r#"{{{versions},"name":"n","plugins":[{{"type":"a"}}]}}"#);
        assert_eq!(list(&text).check_version().is_ok(), good, "{versions}");
    }
}

#[test]
fn a_single_plugin_keeps_its_name_its_version_and_its_text() {
    let cases = [
        ("\"name\":\"x\",\"cniVersion\":\"1.0.0\",", "x", "1.0.0"),
        ("\"cniVersion\":\"0.2.0\",", "k8s-pod-network", "0.3.1"),
        ("\"name\": \"qu\\\"ote\",", "qu\"ote", "0.3.1"),
    ];
    for (members, name, version) in cases {
        let text = format!("\n{{{members}\n \"type\":\"bridge\",\n\"ipam\": {{ }} }}\n");
        let Ok(Document::Single(single)) = Document::read("a.conf", &text) else {
            panic!("{text}");
        };
        let made = single.wrapped(&entry()).unwrap();
        assert!(made.contains(text.trim()), "{made}");
        let parts = as_handed_over(&made);
        assert_eq!(parts[0]["name"], name);
        assert_eq!(parts[1]["cniVersion"], version);
        assert_eq!(list(&made).with(&entry()), None);
        assert!(list(&made).check_version().is_ok());
    }
    let Ok(Document::Single(new)) =
        Document::read("a.conf", r#"{"type":"a","cniVersion":"2.0.0"}"#)
    else {
        panic!();
    };
    assert_eq!(new.wrapped(&entry()), Err(WrongVersion("2.0.0".to_owned())));
}

#[test]
fn our_plugin_alone_is_what_the_plugin_reads() {
    for name in ["z.conf", "z.conflist"] {
        let text = entry().alone(name);
        let document = Document::read(name, &text).unwrap();
        assert!(document.names_us() && !document.names_others(), "{text}");
        let handed = if name == "z.conf" {
            text.clone()
        } else {
            as_handed_over(&text)[0].to_string()
        };
        let config = NetworkConfig::parse(handed.as_bytes(), Verb::Add).unwrap();
        assert_eq!(config.name(), "ambient-cni");
        assert_eq!(config.raw_member("deadline_ms"), Some("20000"), "{text}");
    }
}
