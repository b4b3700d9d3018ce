#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::{PodArgs, PodName};

fn read(pairs: &[(&str, &str)]) -> Result<Option<Command>, EnvironmentError> {
    Command::read(|name| {
        pairs
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| OsString::from(value))
    })
}

const FULL: [(&str, &str); 5] = [
    ("CNI_CONTAINERID", "4f2a_x.y-z"),
    ("CNI_NETNS", "/var/run/netns/a"),
    ("CNI_IFNAME", "eth0"),
    ("CNI_ARGS", "IgnoreUnknown=1"),
    ("CNI_PATH", "/opt/cni/bin"),
];

fn full(verb: &'static str) -> Vec<(&'static str, &'static str)> {
    FULL.into_iter().chain([("CNI_COMMAND", verb)]).collect()
}

#[test]
fn every_verb_is_read() {
    for verb in Verb::ALL {
        let command = read(&full(verb.as_str())).unwrap().unwrap();
        assert_eq!(command.verb(), verb);
    }
    let Some(Command::Add(add)) = read(&full("ADD")).unwrap() else {
        panic!("not ADD")
    };
    assert_eq!(add.container_id, "4f2a_x.y-z");
    assert_eq!(add.netns, "/var/run/netns/a");
    assert_eq!(add.ifname, "eth0");
    assert_eq!(add.args, "IgnoreUnknown=1");
}

#[test]
fn no_command_is_no_call() {
    assert_eq!(read(&[]).unwrap(), None);
    assert_eq!(read(&[("CNI_COMMAND", "")]).unwrap(), None);
}

/// Which variables each verb needs, and that all missing ones are named at once.
#[test]
fn the_missing_are_named_all_at_once() {
    let container = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"];
    for (verb, needed) in [
        ("ADD", &container[..]),
        ("CHECK", &container[..]),
        ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME"][..]),
        ("GC", &["CNI_PATH"][..]),
        ("STATUS", &[][..]),
        ("VERSION", &[][..]),
    ] {
        let nothing_else = read(&[("CNI_COMMAND", verb)]);
        if needed.is_empty() {
            assert!(nothing_else.unwrap().is_some(), "{verb}");
        } else {
            assert_eq!(
                nothing_else,
                Err(EnvironmentError::Missing(needed.to_vec())),
                "{verb}"
            );
        }
        for (left_out, _) in FULL {
            let rest: Vec<_> = full(verb)
                .into_iter()
                .filter(|(key, _)| *key != left_out)
                .collect();
            let expected = needed.contains(&left_out).then_some(vec![left_out]);
            assert_eq!(
                read(&rest).err(),
                expected.map(EnvironmentError::Missing),
                "{verb} without {left_out}"
            );
        }
    }
}

#[test]
fn invalid_values_are_refused_by_name() {
    for (name, value) in [
        ("CNI_CONTAINERID", "../../etc"),
        ("CNI_CONTAINERID", "-a"),
        ("CNI_CONTAINERID", "a b"),
        ("CNI_IFNAME", "sixteen-bytes-xx"),
        ("CNI_IFNAME", "."),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "a:b"),
        ("CNI_IFNAME", "a b"),
    ] {
        let pairs: Vec<_> = full("ADD")
            .into_iter()
            .map(|(k, v)| (k, if k == name { value } else { v }))
            .collect();
        let error = read(&pairs).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(CniError::from(error).code.number(), 4);
    }
    let error = read(&full("add")).unwrap_err();
    assert!(error.to_string().contains("CNI_COMMAND"), "{error}");
}

#[test]
fn what_is_not_text_is_refused() {
    let error = Command::read(|name| match name {
        "CNI_COMMAND" => Some(OsString::from("ADD")),
        _ => Some(OsString::from_vec(vec![0xff])),
    });
    assert_eq!(error, Err(EnvironmentError::NotText("CNI_CONTAINERID")));
}

#[test]
fn a_pod_is_told_from_another_container() {
    let args = PodArgs::parse(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;\
         K8S_POD_INFRA_CONTAINER_ID=abc;K8S_POD_UID=1-2;OTHER=x",
    )
    .unwrap();
    let pod = PodName {
        name: "web-0".into(),
        namespace: "shop".into(),
    };
    assert_eq!(args.pod, Some(pod));
    assert_eq!(args.uid.as_deref(), Some("1-2"));
    assert_eq!(args.infra_container_id.as_deref(), Some("abc"));
    assert_eq!(PodArgs::parse("").unwrap(), PodArgs::default());
    assert_eq!(
        PodArgs::parse("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=;")
            .unwrap()
            .pod,
        None
    );
}

#[test]
fn arguments_that_could_hide_a_pod_are_refused() {
    for text in [
        "K8S_POD_NAME=web-0",
        "K8S_POD_NAME",
        "IgnoreUnknown=maybe",
        "OTHER=x",
    ] {
        let error = PodArgs::parse(text).unwrap_err();
        assert!(error.to_string().contains("CNI_ARGS"), "{error}");
    }
    let late = PodArgs::parse("OTHER=x;IgnoreUnknown=true;K8S_POD_NAME=a;K8S_POD_NAMESPACE=b");
    assert!(
        late.unwrap().pod.is_some(),
        "IgnoreUnknown holds for what stands before it too"
    );
}

/// Another implementation of the specification, over the same variables.
#[test]
fn the_oracle_agrees_on_names() {
    use rscni_types::types::{Cmd, ContainerId, InterfaceName};
    for verb in [
        "ADD", "DEL", "CHECK", "VERSION", "GC", "STATUS", "add", "", "ADD ",
    ] {
        assert_eq!(
            Verb::parse(verb).is_some(),
            verb.parse::<Cmd>().is_ok(),
            "{verb}"
        );
    }
    for text in [
        "a",
        "-",
        "a-",
        "",
        ".a",
        "a.b_c-d",
        "é",
        "a\n",
        "0",
        "a/b",
        "eth0",
        "..",
        ".",
        "fifteen-bytes-x",
        "sixteen-bytes-xx",
        "a:b",
        "a\u{a0}b",
    ] {
        assert_eq!(
            is_name(text),
            text.parse::<ContainerId>().is_ok(),
            "{text:?}"
        );
        let ours = !text.is_empty() && valid_ifname(text.to_owned()).is_ok();
        assert_eq!(ours, text.parse::<InterfaceName>().is_ok(), "{text:?}");
    }
}
