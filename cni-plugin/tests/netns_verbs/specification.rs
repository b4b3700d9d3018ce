//! Every verb at every version of the specification, run as a runtime runs it, with the
//! specification's code for everything it refuses.

use std::path::Path;
use std::process::Stdio;

use cni_plugin_handoff::Request;
use serde_json::{Value, json};

use crate::script::{ScriptedAgent, oblige};
use crate::support::{Call, PREV_RESULT, PodNetns, VERBS, VERSIONS, config, config_with};

fn nowhere() -> &'static Path {
    Path::new("/nonexistent/agent.sock")
}

/// Since which version each verb exists.
fn floor(verb: &str) -> &'static str {
    match verb {
        "CHECK" => "0.4.0",
        "GC" | "STATUS" => "1.1.0",
        _ => "0.3.0",
    }
}

#[test]
fn every_verb_at_every_version() {
    let (agent, pod) = (ScriptedAgent::new(oblige), PodNetns::new());
    let mut asked = 0;
    for version in VERSIONS {
        for verb in VERBS {
            let ran = Call::new(verb, &pod.path, &config(version, &agent.socket())).run();
            let case = format!("{verb} at {version}: {ran:?}");
            if version < floor(verb) {
                assert_eq!(ran.code(), Some(1), "{case}");
                assert_eq!(ran.document()["cniVersion"], version, "{case}");
                assert!(ran.told().contains(verb), "{case}");
                continue;
            }
            assert_eq!(ran.exit, Some(0), "{case}");
            match verb {
                "ADD" => assert_eq!(ran.stdout, format!("{PREV_RESULT}\n"), "{case}"),
                "VERSION" => {
                    let document = ran.document();
                    assert_eq!(document["cniVersion"], version, "{case}");
                    assert_eq!(document["supportedVersions"], json!(VERSIONS), "{case}");
                }
                _ => drop(ran.succeeds_silently()),
            }
            asked += usize::from(verb != "VERSION");
            assert_eq!(agent.seen().len(), asked, "{case}");
        }
    }
    let Some(Request::Add(add)) = agent.seen().into_iter().next() else {
        panic!("no ADD")
    };
    assert_eq!(
        (add.container_id.as_str(), add.ifname.as_str()),
        ("c0ffee", "eth0")
    );
    assert_eq!(add.addresses, ["10.9.0.7/24", "fd09::7/64"]);
    assert_eq!(
        (add.pod.name.as_str(), add.pod.namespace.as_str()),
        ("web-0", "shop")
    );
    assert_eq!(add.pod.uid.as_deref(), Some("uid-1"));
    assert!(
        add.deadline_ms > 1000 && add.deadline_ms <= 4000,
        "{}",
        add.deadline_ms
    );
    assert!(agent.seen().iter().any(|request| match request {
        Request::Gc(gc) => gc.valid_attachments.len() == 1,
        _ => false,
    }));
}

#[test]
fn unknown_versions_are_refused_by_all_but_version() {
    let pod = PodNetns::new();
    for version in ["0.1.0", "0.2.0", "0.5.0", "1.2.0", "9.9.9", "one", ""] {
        for verb in VERBS {
            let ran = Call::new(verb, &pod.path, &config(version, nowhere())).run();
            if verb == "VERSION" {
                let echoed = if version.is_empty() { "1.1.0" } else { version };
                assert_eq!(ran.document()["cniVersion"], echoed, "{ran:?}");
                assert_eq!(ran.exit, Some(0));
            } else {
                assert_eq!(ran.code(), Some(1), "{verb} at {version}: {ran:?}");
                assert_eq!(ran.document()["cniVersion"], "1.1.0");
            }
        }
    }
}

#[test]
fn malformed_input_cannot_be_decoded() {
    let pod = PodNetns::new();
    for stdin in [
        "{",
        "[]",
        "null",
        "{\"cniVersion\":7}",
        "not json",
        "{} {}",
        "{\"cniVersion\":\"1.1.0\"",
    ] {
        for verb in VERBS {
            let ran = Call::new(verb, &pod.path, stdin).run();
            assert_eq!(ran.code(), Some(6), "{verb} <<< {stdin}: {ran:?}");
        }
    }
    for verb in VERBS.into_iter().filter(|verb| *verb != "VERSION") {
        assert_eq!(
            Call::new(verb, &pod.path, "").run().code(),
            Some(6),
            "{verb}"
        );
        let invalid_utf8 = Call::new(verb, &pod.path, "")
            .stdin(b"{\"name\":\"\xff\"}")
            .run();
        assert_eq!(invalid_utf8.code(), Some(6), "{verb}");
    }
    assert_eq!(
        Call::new("VERSION", &pod.path, "").run().document()["cniVersion"],
        "1.1.0"
    );
}

#[test]
fn an_endless_input_is_cut_off() {
    let ran = Call::new("ADD", nowhere(), "")
        .stdin(&vec![b' '; 9 << 20])
        .run();
    assert_eq!(ran.code(), Some(5), "{ran:?}");
}

#[test]
fn missing_variables_are_named() {
    let pod = PodNetns::new();
    let container = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"];
    for (verb, needed) in [
        ("ADD", &container[..]),
        ("CHECK", &container[..]),
        ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME"]),
        ("GC", &["CNI_PATH"]),
    ] {
        let full = Call::new(verb, &pod.path, &config("1.1.0", nowhere()));
        let mut none = full.clone();
        for name in needed {
            let ran = full.clone().without(name).run();
            assert_eq!(ran.code(), Some(4), "{verb} without {name}: {ran:?}");
            assert!(ran.told().contains(name), "{ran:?}");
            assert_eq!(
                full.clone().env(name, "").run().code(),
                Some(4),
                "empty {name}"
            );
            none = none.without(name);
        }
        let ran = none.run();
        assert!(
            needed.iter().all(|name| ran.told().contains(name)),
            "{ran:?}"
        );
    }
}

#[test]
fn invalid_variables_are_refused() {
    let pod = PodNetns::new();
    let call = Call::new("ADD", &pod.path, &config("1.0.0", nowhere()));
    for (name, value) in [
        ("CNI_CONTAINERID", "../escape"),
        ("CNI_IFNAME", "a-name-too-long-x"),
        ("CNI_IFNAME", "a/b"),
        ("CNI_COMMAND", "ATTACH"),
        ("CNI_COMMAND", "add"),
        (
            "CNI_ARGS",
            "K8S_POD_NAME=web-0;K8S_POD_NAMESPACE=shop;FOO=1",
        ),
        ("CNI_ARGS", "K8S_POD_NAME=web-0"),
        ("CNI_ARGS", "nonsense"),
        ("CNI_NETNS", "/nonexistent/netns"),
        ("CNI_NETNS", "/etc/hostname"),
        ("CNI_NETNS", "/proc/self/ns/net"),
        ("CNI_NETNS", "/proc/self/ns/mnt"),
    ] {
        let ran = call.clone().env(name, value).run();
        assert_eq!(ran.code(), Some(4), "{name}={value}: {ran:?}");
        assert!(ran.told().contains(name), "{ran:?}");
    }
}

#[test]
fn without_a_command_it_says_what_it_is() {
    for call in [
        Call::new("", nowhere(), ""),
        Call::new("ADD", nowhere(), "").without("CNI_COMMAND"),
    ] {
        let ran = call.run();
        assert!(
            ran.succeeds_silently().stderr.contains("CNI plugin"),
            "{ran:?}"
        );
        assert!(
            ran.stderr.contains("0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"),
            "{ran:?}"
        );
    }
}

#[test]
fn invalid_configurations_are_refused() {
    let pod = PodNetns::new();
    for (more, code) in [
        (json!({"name": "-x"}), 7),
        (json!({"name": null}), 7),
        (json!({"deadline_ms": "soon"}), 7),
        (json!({"deadline_ms": 1}), 7),
        (json!({"agent_socket": "relative.sock"}), 7),
        (json!({"exclude_namespaces": "kube-system"}), 7),
        (json!({"log_file": "relative.log"}), 7),
        (json!({"cni.dev/valid-attachments": "all"}), 6),
    ] {
        let ran = Call::new("ADD", &pod.path, &config_with("1.0.0", nowhere(), &more)).run();
        assert_eq!(ran.code(), Some(code), "{more}: {ran:?}");
    }
    let old = r#"{"cniVersion":"0.4.0","name":"n","prevResult":{"cniVersion":"0.2.0","ip4":{}}}"#;
    assert_eq!(Call::new("ADD", &pod.path, old).run().code(), Some(1));
    let bad = r#"{"cniVersion":"0.4.0","name":"n","prevResult":{"ips":[{"address":"10.0.0.1"}]}}"#;
    assert_eq!(Call::new("ADD", &pod.path, bad).run().code(), Some(6));
    let bare = r#"{"cniVersion":"1.1.0","name":"n"}"#;
    assert_eq!(
        Call::new("CHECK", &pod.path, bare).run().code(),
        Some(7),
        "no prevResult"
    );
    assert_eq!(
        Call::new("GC", &pod.path, bare).run().code(),
        Some(7),
        "no attachments"
    );
}

#[test]
fn without_a_previous_result_an_empty_one_is_answered() {
    let (agent, pod) = (ScriptedAgent::new(oblige), PodNetns::new());
    for version in VERSIONS {
        let socket = agent.socket();
        let text = json!({"cniVersion": version, "name": "n", "agent_socket": socket}).to_string();
        let ran = Call::new("ADD", &pod.path, &text).run();
        let expected: Value = if version < "1.0.0" {
            json!({"cniVersion": version, "dns": {}})
        } else {
            json!({"cniVersion": version})
        };
        assert_eq!((ran.exit, ran.document()), (Some(0), expected), "{ran:?}");
    }
}

/// What is not for the agent passes while there is no agent, and nothing else does.
#[test]
fn exempt_pods_pass_without_the_agent() {
    let pod = PodNetns::new();
    let args = |namespace: &str, name: &str| {
        format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}")
    };
    for version in VERSIONS {
        for (arguments, passes) in [
            (args("kube-system", "dns"), true),
            (args("mesh", "agent-x"), true),
            (String::new(), true),
            ("IgnoreUnknown=1;FOO=1".to_owned(), true),
            (args("mesh", "other"), false),
            (args("shop", "agent-x"), false),
            (args("kube-system-2", "dns"), false),
        ] {
            let call = Call::new("ADD", &pod.path, &config(version, nowhere()));
            let ran = call.env("CNI_ARGS", &arguments).run();
            if passes {
                assert_eq!(
                    ran.stdout,
                    format!("{PREV_RESULT}\n"),
                    "{arguments}: {ran:?}"
                );
                assert_eq!(ran.exit, Some(0));
            } else {
                assert_eq!(ran.code(), Some(11), "{arguments}: {ran:?}");
            }
        }
    }
    let own = Call::new("CHECK", &pod.path, &config("1.0.0", nowhere()));
    own.env("CNI_ARGS", &args("mesh", "agent-x"))
        .run()
        .succeeds_silently();
}

/// A runtime that has gone away must not kill the plugin before it has cleared up.
#[test]
fn a_closed_output_is_a_failure_not_a_signal() {
    let call = Call::new("VERSION", nowhere(), "");
    let mut child = call.command().stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("standard output"),
        "{output:?}"
    );
}

#[test]
fn the_log_file_has_a_line_for_every_call() {
    let (agent, pod) = (ScriptedAgent::new(oblige), PodNetns::new());
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("cni.log");
    let text = |socket: &Path| config_with("1.1.0", socket, &json!({"log_file": log}));
    for verb in ["ADD", "CHECK", "GC", "STATUS", "DEL"] {
        assert_eq!(
            Call::new(verb, &pod.path, &text(&agent.socket()))
                .run()
                .exit,
            Some(0)
        );
    }
    Call::new("ADD", &pod.path, &text(nowhere())).run();
    let written = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = written
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let verbs: Vec<_> = lines
        .iter()
        .map(|line| line["verb"].as_str().unwrap())
        .collect();
    assert_eq!(verbs, ["ADD", "CHECK", "GC", "STATUS", "DEL", "ADD"]);
    assert_eq!(
        (&lines[0]["ok"], &lines[0]["pod"]),
        (&json!(true), &json!("shop/web-0"))
    );
    assert_eq!(
        (&lines[5]["ok"], &lines[5]["code"]),
        (&json!(false), &json!(11))
    );

    // One that cannot be written changes nothing.
    let unwritable = config_with(
        "1.1.0",
        &agent.socket(),
        &json!({"log_file": "/proc/none/x"}),
    );
    assert_eq!(Call::new("ADD", &pod.path, &unwritable).run().exit, Some(0));
}
