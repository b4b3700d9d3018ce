#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use node_agent_enrollment::Selectors;
use serde_json::{Value, json};

use super::*;

/// The least a working file holds, with `changes` laid over it (null removes a key).
fn document(changes: &Value) -> Value {
    let mut document = json!({
        "node": "node-a",
        "podsFile": "/etc/ambient/pods.yaml",
        "meshFile": "/etc/ambient/mesh.yaml",
        "development": true,
        "developmentCaCert": "/etc/ambient/ca.pem",
        "developmentCaKey": "/etc/ambient/ca.key",
    });
    for (key, value) in changes.as_object().unwrap() {
        if value.is_null() {
            document.as_object_mut().unwrap().remove(key);
        } else {
            document[key] = value.clone();
        }
    }
    document
}

fn good(changes: &Value) -> Settings {
    Settings::from_document(&document(changes)).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// Checks that exactly these mistakes are reported, each named by a part of its text.
fn bad(changes: &Value, expected: &[&str]) {
    let mistakes = Settings::from_document(&document(changes)).unwrap_err();
    let texts: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
    for part in expected {
        assert!(
            texts.iter().any(|text| text.contains(part)),
            "{part:?} not in {texts:#?}"
        );
    }
}

#[test]
fn defaults_fill_what_is_absent() {
    let settings = good(&json!({}));
    assert_eq!(settings.trust_domain, "cluster.local");
    assert_eq!(settings.certificate_ttl, Duration::from_hours(24));
    assert_eq!(settings.stream_window, ByteSize(1 << 20));
    assert_eq!(settings.on_missing_certificate, OnMissingCertificate::Hold);
    assert_eq!(settings.worker_threads, WorkerThreads::Auto);
    assert_eq!(settings.admin_address, "127.0.0.1:15000".parse().unwrap());
    assert_eq!(settings.exclude_namespaces, ["kube-system"]);
    assert_eq!(settings.zds_socket, None);
    assert!(settings.ipv6);
}

#[test]
fn given_values_replace_defaults() {
    let settings = good(&json!({
        "certificateWait": "1500ms", "drainDeadline": "1h30m", "tunnelWindow": "1GiB",
        "workerThreads": 3, "iptablesBackend": "legacy", "excludeNamespaces": [], "ipv6": false,
    }));
    assert_eq!(settings.certificate_wait, Duration::from_millis(1500));
    assert_eq!(settings.drain_deadline, Duration::from_mins(90));
    assert_eq!(settings.tunnel_window, ByteSize(1 << 30));
    assert_eq!(settings.worker_threads, WorkerThreads::Exactly(3));
    assert_eq!(settings.iptables_backend, IptablesBackend::Legacy);
    assert!(settings.exclude_namespaces.is_empty() && !settings.ipv6);
}

#[test]
fn every_mistake_is_reported_at_once() {
    bad(
        &json!({
            "node": null,
            "trustdomian": "x",
            "connectTimeout": 10,
            "streamWindow": "lots",
            "adminAddress": "localhost",
            "ipv6": "yes",
            "maxStreamsPerTunnel": 0,
            "stateDir": "relative/path",
            "logFormat": "xml",
            "developmentCaKey": null,
        }),
        &[
            "node: must be given",
            "trustdomian: no such setting; did you mean trustDomain?",
            "connectTimeout: expected a duration with a unit",
            "streamWindow: expected a size",
            "adminAddress: expected an address and port",
            "ipv6: expected true or false",
            "maxStreamsPerTunnel: must be from 1 to 10000",
            "stateDir: expected an absolute path",
            "logFormat: expected one of plain json",
            "developmentCaKey: must be given together",
        ],
    );
}

#[test]
fn development_authority_needs_development() {
    bad(
        &json!({ "development": false }),
        &["not a development installation"],
    );
    bad(
        &json!({ "development": null }),
        &["not a development installation"],
    );
    bad(
        &json!({ "developmentCaCert": null, "developmentCaKey": null }),
        &["no certificate authority is configured"],
    );
}

#[test]
fn a_control_plane_takes_the_place_of_files() {
    let control = json!({
        "meshFile": null, "development": null, "developmentCaCert": null, "developmentCaKey": null,
        "xdsAddress": "istiod.istio-system.svc:15012", "caAddress": "https://[fd00::1]:15012",
        "caServerName": "istiod.istio-system.svc", "podName": "agent-x",
        "podNamespace": "istio-system", "podIp": "10.0.0.1",
    });
    let settings = good(&control);
    let address = |host: &str, port| {
        Some(HostPort {
            host: host.to_owned(),
            port,
        })
    };
    assert_eq!(
        settings.xds_address,
        address("istiod.istio-system.svc", 15012)
    );
    assert_eq!(settings.ca_address, address("fd00::1", 15012));
    assert_eq!(settings.pod_ip, Some("10.0.0.1".parse().unwrap()));
    assert!(settings.token_file.ends_with("istio-token"));

    bad(
        &json!({ "xdsAddress": "a:1", "podName": "x", "podNamespace": "y" }),
        &["xdsAddress: cannot be given together with meshFile"],
    );
    bad(
        &json!({ "caAddress": "a:1" }),
        &["caAddress: cannot be given together with a development authority"],
    );
    bad(
        &json!({ "meshFile": null, "xdsAddress": "a:1" }),
        &["podName: must be given", "podNamespace: must be given"],
    );
    bad(
        &json!({ "xdsServerName": "a", "caServerName": "b" }),
        &["xdsServerName: is of no use", "caServerName: is of no use"],
    );
}

#[test]
fn a_host_and_port_is_both() {
    let base = json!({ "meshFile": null, "podName": "x", "podNamespace": "y" });
    for text in [
        "istiod",
        "istiod:",
        ":1",
        "a:0",
        "a:65536",
        "a b:1",
        "[::1:1",
        "::1:15012",
        "a/b:1",
    ] {
        let mut changes = base.clone();
        changes["xdsAddress"] = json!(text);
        bad(&changes, &["xdsAddress: expected a host and a port"]);
    }
}

#[test]
fn contradictions_are_refused() {
    bad(
        &json!({ "adminAddress": "0.0.0.0:15000" }),
        &["adminAddress: must be a loopback"],
    );
    bad(
        &json!({ "metricsAddress": "[::]:15021" }),
        &["readinessAddress: uses port 15021"],
    );
    bad(
        &json!({ "tunnelWindow": "512KiB" }),
        &["tunnelWindow: must not be smaller"],
    );
    bad(
        &json!({ "certificateWait": "20s" }),
        &["certificateWait: must be shorter"],
    );
    bad(
        &json!({ "zdsSocket": "/run/z.sock" }),
        &["zdsSocket: cannot be given together"],
    );
    bad(&json!({ "podsFile": null }), &["podsFile: must be given"]);
    bad(&json!({ "meshFile": null }), &["meshFile: must be given"]);
    bad(
        &json!({ "dnsCapture": true }),
        &["dnsCapture: is not built yet"],
    );
}

#[test]
fn a_profile_says_where_the_runtime_looks_and_settings_replace_single_facts() {
    for facts in CniProfile::all() {
        assert_eq!(facts.profile.facts(), facts);
        assert!(facts.conf_dir.starts_with('/') && !facts.bin_dirs.is_empty());
    }
    let settings = good(&json!({}));
    assert_eq!(settings.cni_mode_in_force(), CniMode::Owned);
    assert_eq!(settings.cni_conflist_name_in_force(), "02-ambient.conflist");
    assert_eq!(
        settings.cni_conf_dir_in_force(),
        std::path::Path::new("/etc/cni/net.d")
    );
    let openshift = good(&json!({ "cniProfile": "openshift", "cniBinDir": "/b" }));
    assert_eq!(openshift.cni_mode_in_force(), CniMode::Standalone);
    let name = openshift.cni_conflist_name_in_force();
    assert_eq!(name, "zzz-ambient-cni.conf");
    assert_eq!(
        openshift.cni_bin_dirs_in_force(),
        [std::path::PathBuf::from("/b")]
    );
    let changed = good(&json!({
        "cniProfile": "gke", "cniMode": "chained", "cniConfDir": "/c", "cniBinDir": ["/a", "/b"],
        "cniPrimaryName": "10-x.conf", "agentNamespace": "mesh",
    }));
    assert_eq!(changed.cni_mode_in_force(), CniMode::Chained);
    assert_eq!(changed.cni_conf_dir_in_force(), std::path::Path::new("/c"));
    assert_eq!(changed.cni_bin_dirs_in_force().len(), 2);
}

#[test]
fn an_installer_that_contradicts_itself_is_refused() {
    bad(
        &json!({ "cniProfile": "k4s" }),
        &["cniProfile: expected one of containerd crio"],
    );
    bad(&json!({ "cniBinDir": [] }), &["cniBinDir: expected"]);
    bad(
        &json!({ "cniConflistName": "a/b.conflist" }),
        &["cniConflistName: expected letters"],
    );
    bad(
        &json!({ "cniConflistName": "00-ambient.conf" }),
        &["cniConflistName: must end in .conflist"],
    );
    bad(
        &json!({ "cniMode": "standalone", "cniConflistName": ".x", "cniPrimaryName": "a.conf" }),
        &["cniConflistName: must end", "cniPrimaryName: is of no use"],
    );
    bad(
        &json!({ "cniMode": "chained", "cniConflistName": "x.conflist" }),
        &["cniConflistName: is of no use in chained mode"],
    );
    bad(
        &json!({ "cniConflistName": "a.conflist", "cniPrimaryName": "a.conflist" }),
        &["cniPrimaryName: must not be cniConflistName"],
    );
    bad(
        &json!({ "cniPrimaryName": "calico" }),
        &["cniPrimaryName: must end in"],
    );
    bad(
        &json!({ "cniStateDir": "/var/lib/ambient/cni" }),
        &["cniStateDir: must not be in stateDir"],
    );
    bad(
        &json!({ "cniAgentSocket": format!("/{}", "x".repeat(107)) }),
        &["cniAgentSocket: must not be longer"],
    );
}

#[test]
fn a_foreign_agent_replaces_the_pods_file() {
    let settings = good(&json!({ "zdsSocket": "/run/z.sock", "podsFile": null }));
    assert_eq!(settings.zds_socket, Some("/run/z.sock".into()));
}

#[test]
fn the_api_server_replaces_the_pods_file() {
    let kubernetes = |more: &Value| {
        let mut changes = json!({ "pods": "kubernetes", "podsFile": null });
        changes
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        changes
    };
    let settings = good(&kubernetes(&json!({})));
    assert_eq!(settings.pods, PodsSource::Kubernetes);
    assert_eq!(settings.on_unknown_pod, OnUnknownPod::Fail);
    assert_eq!(settings.pod_lookup_timeout, Duration::from_secs(3));
    assert_eq!(settings.netns_dirs.0.len(), 2);
    assert_eq!(settings.enablement_selectors, None);
    let own = good(&kubernetes(&json!({ "enablementSelectors": [
        { "namespaceSelector": { "matchLabels": { "mesh": "yes" } } }
    ] })));
    assert_ne!(own.enablement_selectors, Some(Selectors::default()));

    for (changes, expected) in [
        (
            kubernetes(&json!({ "podsFile": "/p" })),
            "podsFile: cannot be given",
        ),
        (
            kubernetes(&json!({ "zdsSocket": "/z" })),
            "zdsSocket: cannot be given",
        ),
        (json!({ "kubeconfig": "/k" }), "kubeconfig: is of no use"),
        (
            kubernetes(&json!({ "podLookupTimeout": "15s" })),
            "podLookupTimeout: must be shorter",
        ),
        (
            kubernetes(&json!({ "enablementSelectors": [{ "pods": {} }] })),
            "enablementSelectors: ",
        ),
        (
            kubernetes(&json!({ "enablementSelectors": [{ "podSelector": {
                "matchExpressions": [{ "key": "k", "operator": "In" }] } }] })),
            "enablementSelectors: selector 1",
        ),
    ] {
        bad(&changes, &[expected]);
    }
}

#[test]
fn unknown_keys_suggest_only_what_is_near() {
    bad(
        &json!({ "admin_address": "x" }),
        &["did you mean adminAddress?"],
    );
    let mistakes = Settings::from_document(&document(&json!({ "colour": "red" }))).unwrap_err();
    assert_eq!(mistakes.to_string(), "colour: no such setting");
}

#[test]
fn document_must_be_a_map() {
    let mistakes = Settings::from_document(&json!(["node"])).unwrap_err();
    assert_eq!(
        mistakes.to_string(),
        "expected a map of settings, found a list"
    );
    let empty = Settings::from_document(&Value::Null).unwrap_err();
    assert!(empty.iter().any(|mistake| mistake.key() == Some("node")));
}

#[test]
fn trust_domain_must_be_a_name() {
    bad(
        &json!({ "trustDomain": "a/b" }),
        &["trustDomain: expected letters"],
    );
    bad(&json!({ "node": "" }), &["node: expected letters"]);
}

#[test]
fn durations_are_read_exactly() {
    for (text, milliseconds) in [
        ("0s", 0),
        ("250ms", 250),
        ("10s", 10_000),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
    ] {
        assert_eq!(
            parse_duration(text),
            Ok(Duration::from_millis(milliseconds)),
            "{text}"
        );
    }
    for text in [
        "",
        "10",
        "s",
        "1.5s",
        "-1s",
        "1w",
        "5 s",
        "99999999999999999999s",
        "1s2",
    ] {
        assert!(parse_duration(text).is_err(), "{text}");
    }
}

#[test]
fn sizes_are_read_exactly() {
    for (text, bytes) in [
        ("0", 0),
        ("512B", 512),
        ("64KiB", 65_536),
        ("4 MiB", 4 << 20),
    ] {
        assert_eq!(parse_byte_size(text), Ok(ByteSize(bytes)), "{text}");
    }
    for text in ["", "MiB", "4MB", "4mib", "-1", "99999999999GiB"] {
        assert!(parse_byte_size(text).is_err(), "{text}");
    }
}

#[test]
fn help_names_every_setting_with_its_facts() {
    let (plain, markdown) = (describe(), describe_markdown());
    for row in rows() {
        assert!(plain.contains(&format!("{} (", row.key)), "{}", row.key);
        assert!(
            markdown.contains(&format!("| `{}` |", row.key)),
            "{}",
            row.key
        );
        assert!(
            row.help.trim().ends_with('.'),
            "{}: help is not a sentence",
            row.key
        );
    }
    assert!(
        plain.contains("certificateTtl (duration, 10s to 90d, default 24h)"),
        "{plain}"
    );
    assert!(plain.contains("node (text, required)"), "{plain}");
    assert!(plain.lines().all(|line| line.len() <= 100), "{plain}");
}

#[test]
fn no_key_stands_twice() {
    for (index, row) in rows().iter().enumerate() {
        assert!(
            rows()[..index].iter().all(|earlier| earlier.key != row.key),
            "{}",
            row.key
        );
    }
}
