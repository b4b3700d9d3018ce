//! Input and environment that no runtime should send, executed directly before a real agent.

use crate::{judge, network, node, stage};
use e2e_tests::runtime::{Network, PLAIN, Sandbox, Table};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const VERBS: [&str; 6] = ["ADD", "CHECK", "DEL", "GC", "STATUS", "VERSION"];

/// What is wrong, and the code for each verb; 0 where the verb does not need it.
const ROWS: [(&str, &[&str]); 22] = [
    ("nothing", &["0", "0", "0", "0", "0", "0"]),
    ("input is empty", &["6", "6", "6", "6", "6", "0"]),
    ("input is no JSON", &["6", "6", "6", "6", "6", "6"]),
    ("input is a list", &["6", "6", "6", "6", "6", "6"]),
    ("input is cut off", &["6", "6", "6", "6", "6", "6"]),
    ("cniVersion is missing", &["1", "1", "1", "1", "1", "0"]),
    ("cniVersion is 0.2.0", &["1", "1", "1", "1", "1", "0"]),
    ("cniVersion is 9.9.9", &["1", "1", "1", "1", "1", "0"]),
    ("cniVersion is a number", &["6", "6", "6", "6", "6", "6"]),
    ("name is missing", &["7", "7", "7", "7", "7", "0"]),
    ("name is impossible", &["7", "7", "7", "7", "7", "0"]),
    ("deadline_ms is a text", &["7", "7", "7", "7", "7", "0"]),
    ("prevResult is rubbish", &["6", "6", "6", "6", "6", "0"]),
    ("prevResult is missing", &["0", "7", "0", "0", "0", "0"]),
    (
        "CNI_CONTAINERID is missing",
        &["4", "4", "4", "0", "0", "0"],
    ),
    (
        "CNI_CONTAINERID is impossible",
        &["4", "4", "4", "0", "0", "0"],
    ),
    ("CNI_NETNS is missing", &["4", "4", "0", "0", "0", "0"]),
    ("CNI_NETNS is no namespace", &["4", "4", "0", "0", "0", "0"]),
    ("CNI_IFNAME is missing", &["4", "4", "4", "0", "0", "0"]),
    ("CNI_IFNAME is impossible", &["4", "4", "4", "0", "0", "0"]),
    ("CNI_ARGS is rubbish", &["4", "4", "0", "0", "0", "0"]),
    ("CNI_PATH is missing", &["0", "0", "0", "4", "0", "0"]),
];

type Environment = BTreeMap<&'static str, String>;

/// The call with that one thing wrong.
fn spoil(what: &str, environment: &mut Environment, input: &mut Value) -> Option<Vec<u8>> {
    let mut set = |name, value: &str| drop(environment.insert(name, value.to_owned()));
    match what {
        "nothing" => {}
        "input is empty" => return Some(Vec::new()),
        "input is no JSON" => return Some(b"cniVersion: 1.1.0".to_vec()),
        "input is a list" => return Some(b"[]".to_vec()),
        "input is cut off" => return Some(input.to_string().as_bytes()[..40].to_vec()),
        "cniVersion is 0.2.0" => input["cniVersion"] = json!("0.2.0"),
        "cniVersion is 9.9.9" => input["cniVersion"] = json!("9.9.9"),
        "cniVersion is a number" => input["cniVersion"] = json!(1.1),
        "name is impossible" => input["name"] = json!("../../etc"),
        "deadline_ms is a text" => input["deadline_ms"] = json!("soon"),
        "prevResult is rubbish" => {
            input["prevResult"] = json!({"cniVersion": "1.1.0", "ips": [{"address": "here"}]});
        }
        "CNI_CONTAINERID is impossible" => set("CNI_CONTAINERID", "../container"),
        "CNI_NETNS is no namespace" => set("CNI_NETNS", "/etc/hostname"),
        "CNI_IFNAME is impossible" => set("CNI_IFNAME", "eth0/../eth1"),
        "CNI_ARGS is rubbish" => set("CNI_ARGS", "K8S_POD_NAME"),
        missing => {
            let name = missing
                .strip_suffix(" is missing")
                .unwrap_or_else(|| panic!("{missing}?"));
            if let Some(members) = input.as_object_mut() {
                members.remove(name);
            }
            environment.retain(|known, _| *known != name);
        }
    }
    None
}

fn call(network: &Network, pod: &Sandbox, verb: &str, what: &str, previous: &Value) -> u64 {
    let mut environment = network.environment(verb, pod);
    let mut input = network.input(&network.mesh, previous);
    input["cni.dev/valid-attachments"] = json!([]);
    let spoilt = spoil(what, &mut environment, &mut input);
    let input = spoilt.unwrap_or_else(|| input.to_string().into_bytes());
    let ran = network.raw(&environment, &input).unwrap();
    ran.code().unwrap()
}

#[test]
fn malformed_calls() {
    let lab = stage();
    let network = network(&lab, "direct", "1.1.0");
    // Of a namespace outside the mesh: what is answered with 0 changes nothing.
    let pod = Sandbox::create(&lab, PLAIN, "pod").unwrap();
    let previous = network.attach(&pod).unwrap().result;
    let mut table = Table::new("direct execution at 1.1.0, malformed calls", &VERBS, &ROWS);
    for (what, _) in ROWS {
        for verb in VERBS {
            table.saw(what, verb, call(&network, &pod, verb, what, &previous));
        }
    }
    assert_eq!(pod.our_rules().unwrap(), Vec::<String>::new());
    let mut environment = network.environment("FLY", &pod);
    let input = network.input(&network.mesh, &previous).to_string();
    let code = |environment: &Environment| {
        network
            .raw(environment, input.as_bytes())
            .unwrap()
            .code()
            .unwrap()
    };
    assert_eq!(code(&environment), 4, "an unknown verb");
    environment.insert("CNI_COMMAND", "add".to_owned());
    assert_eq!(code(&environment), 4, "verbs are upper case");
    let dump = node(&lab).agent_dump().unwrap();
    assert_eq!(
        dump["pods"],
        json!([]),
        "none of it left a pod with the agent"
    );
    judge(
        &table,
        "1 version, 4 environment, 6 decoding, 7 configuration: the specification's codes",
    );
    drop(pod);
    lab.down().unwrap();
}
