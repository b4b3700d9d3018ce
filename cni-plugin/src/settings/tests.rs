#![allow(clippy::unwrap_used, reason = "tests")]

use cni_plugin_spec::Verb;

use super::*;

fn config(more: &str) -> NetworkConfig {
    let text = format!(r#"{{"cniVersion":"1.0.0","name":"net"{more}}}"#);
    NetworkConfig::parse(text.as_bytes(), Verb::Add).unwrap()
}

fn settings(more: &str) -> Settings {
    Settings::read(&config(more)).unwrap()
}

fn pod(namespace: &str, name: &str) -> PodName {
    PodName {
        name: name.into(),
        namespace: namespace.into(),
    }
}

#[test]
fn defaults_hold_nobody_back_and_nobody_out() {
    let settings = settings("");
    assert_eq!(settings.agent_socket, PathBuf::from(AGENT_SOCKET));
    assert_eq!(settings.deadline, Duration::from_secs(20));
    assert_eq!(
        settings.bypass(Some(&pod("kube-system", "ambient-agent-x"))),
        None
    );
    assert!(settings.bypass(None).unwrap().contains("not a pod"));
}

#[test]
fn mistakes_name_their_member() {
    for (member, value) in [
        ("agent_socket", "\"run/agent.sock\""),
        ("agent_socket", "\"\""),
        ("agent_socket", "1"),
        ("deadline_ms", "0"),
        ("deadline_ms", "110001"),
        ("deadline_ms", "\"20s\""),
        ("deadline_ms", "-1"),
        ("exclude_namespaces", "\"kube-system\""),
        ("agent_namespace", "[]"),
        ("agent_pod_prefix", "7"),
    ] {
        let error = Settings::read(&config(&format!(r#","{member}":{value}"#))).unwrap_err();
        assert!(error.to_string().contains(member), "{error}");
    }
    let long = format!(r#","agent_socket":"/{}""#, "x".repeat(107));
    assert!(Settings::read(&config(&long)).is_err());
    assert!(Settings::log_file(&config(r#","log_file":"here""#)).is_err());
    assert_eq!(Settings::log_file(&config("")).unwrap(), None);
}

#[test]
fn only_the_agent_s_own_pods_and_excluded_namespaces_pass() {
    let settings = settings(
        r#","agent_namespace":"mesh","agent_pod_prefix":"agent-","exclude_namespaces":["a","b"]"#,
    );
    assert!(
        settings
            .bypass(Some(&pod("mesh", "agent-x7f2")))
            .unwrap()
            .contains("own pod")
    );
    assert!(
        settings
            .bypass(Some(&pod("b", "web")))
            .unwrap()
            .contains("excluded")
    );
    for (namespace, name) in [
        ("mesh", "other"),
        ("shop", "agent-x7f2"),
        ("ab", "web"),
        ("", "x"),
    ] {
        assert_eq!(
            settings.bypass(Some(&pod(namespace, name))),
            None,
            "{namespace}/{name}"
        );
    }
}

#[test]
fn an_empty_prefix_does_not_exempt_the_namespace() {
    let settings = settings(r#","agent_namespace":"mesh","agent_pod_prefix":"""#);
    assert_eq!(settings.bypass(Some(&pod("mesh", "web"))), None);
}
