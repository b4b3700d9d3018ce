//! The plugin executed directly, behind a real bridge plugin, before a real agent.

use crate::{VERSIONS, dashed, enrolled, judge, network, node, stage};
use e2e_netlab::Lab;
use e2e_tests::runtime::{Added, MESHED, Network, Sandbox, Table};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

const ALWAYS: &[&str] = &["0", "0", "0", "0", "0"];
/// 1 is the specification's code for a version that does not have the verb.
const ROWS: [(&str, &[&str]); 16] = [
    ("VERSION", ALWAYS),
    ("STATUS", &["1", "1", "1", "1", "0"]),
    ("ADD", ALWAYS),
    // Ours: waiting does not help, somebody has to act.
    (
        "ADD, pod unknown to the agent",
        &["100", "100", "100", "100", "100"],
    ),
    ("CHECK", &["1", "1", "0", "0", "0"]),
    ("CHECK, rules altered", &["1", "1", "105", "105", "105"]),
    ("DEL", ALWAYS),
    ("DEL, again", ALWAYS),
    ("DEL, without a namespace", ALWAYS),
    ("GC", &["1", "1", "1", "1", "0"]),
    ("GC, without a list", &["1", "1", "1", "1", "7"]),
    ("STATUS, agent away", &["1", "1", "1", "1", "50"]),
    ("ADD, agent away", &["11", "11", "11", "11", "11"]),
    ("CHECK, agent away", &["1", "1", "11", "11", "11"]),
    ("DEL, agent away", ALWAYS),
    ("GC, agent away", &["1", "1", "1", "1", "0"]),
];

/// One version's network and pods.
struct Column {
    version: &'static str,
    network: Network,
    first: Sandbox,
    /// Enrolled when the agent goes away.
    second: (Sandbox, Added),
}

#[test]
fn direct_execution() {
    let lab = stage();
    let mut table = Table::new("direct execution, exit codes", &VERSIONS, &ROWS);
    let columns: Vec<Column> = VERSIONS
        .iter()
        .map(|version| with_agent(&lab, version, &mut table))
        .collect();
    node(&lab).end_agent(Signal::SIGKILL).unwrap();
    for column in &columns {
        without_agent(column, &mut table);
    }
    drop(columns);
    judge(&table, "0: done; else the code of the error document");
    lab.down().unwrap();
}

fn with_agent(lab: &Lab, version: &'static str, table: &mut Table) -> Column {
    let network = network(lab, "direct", version);
    let pod =
        |part: &str| Sandbox::create(lab, MESHED, &format!("{part}-{}", dashed(version))).unwrap();
    let first = pod("first");
    let previous = network.attach(&first).unwrap().result;
    let mut call = |row: &str, verb: &str, pod: &Sandbox, previous: &Value| {
        let ran = network.mesh(verb, pod, previous).unwrap();
        table.saw(row, version, ran.code().unwrap());
        ran
    };

    let told = call("VERSION", "VERSION", &first, &Value::Null).output;
    assert_eq!(
        told,
        json!({"cniVersion": version, "supportedVersions": VERSIONS})
    );
    call("STATUS", "STATUS", &first, &Value::Null);
    let ran = call("ADD", "ADD", &first, &previous);
    assert_eq!(
        ran.output, previous,
        "prevResult is passed through unchanged"
    );
    assert!(enrolled(lab, &first.name) && !first.our_rules().unwrap().is_empty());
    call("CHECK", "CHECK", &first, &previous);
    first.damage().unwrap();
    call("CHECK, rules altered", "CHECK", &first, &previous);
    call("DEL", "DEL", &first, &previous);
    assert_eq!(
        first.our_rules().unwrap(),
        Vec::<String>::new(),
        "DEL leaves no rules"
    );
    assert!(!enrolled(lab, &first.name));
    call("DEL, again", "DEL", &first, &previous);

    let stranger = pod("stranger");
    let attached = network.attach(&stranger).unwrap();
    let ran = call(
        "ADD, pod unknown to the agent",
        "ADD",
        &stranger,
        &attached.result,
    );
    assert!(
        ran.said.contains(&stranger.name),
        "the pod is not named: {ran:?}"
    );
    assert_eq!(
        stranger.our_rules().unwrap(),
        Vec::<String>::new(),
        "a refused ADD leaves no rules"
    );

    let second = pod("second");
    let added = network.add(&second).unwrap();
    let third = pod("third");
    network.add(&third).unwrap();
    collect_garbage(lab, &network, &second, &third, table);
    let mut environment = network.environment("DEL", &third);
    environment.remove("CNI_NETNS");
    let input = network.input(&network.mesh, &Value::Null);
    let ran = network
        .raw(&environment, input.to_string().as_bytes())
        .unwrap();
    table.saw("DEL, without a namespace", version, ran.code().unwrap());
    assert!(
        !enrolled(lab, &third.name),
        "DEL without the namespace is DEL"
    );
    Column {
        version,
        network,
        first,
        second: (second, added),
    }
}

/// GC that leaves everything but the third pod alone.
fn collect_garbage(
    lab: &Lab,
    network: &Network,
    second: &Sandbox,
    third: &Sandbox,
    table: &mut Table,
) {
    let version = &network.version;
    let dump = node(lab).agent_dump().unwrap();
    let pods = dump["pods"].as_array().unwrap().iter();
    let listed: Vec<Value> = pods
        .map(|pod| json!({"containerID": pod["containerId"], "ifname": "eth0"}))
        .filter(|attachment| attachment["containerID"] != *third.container)
        .collect();
    let mut bare = network.input(&network.mesh, &Value::Null);
    let environment = network.environment("GC", third);
    let ran = network
        .raw(&environment, bare.to_string().as_bytes())
        .unwrap();
    table.saw("GC, without a list", version, ran.code().unwrap());
    assert!(
        enrolled(lab, &third.name),
        "a missing list is not an empty one"
    );
    bare["cni.dev/valid-attachments"] = listed.into();
    let ran = network
        .raw(&environment, bare.to_string().as_bytes())
        .unwrap();
    let code = ran.code().unwrap();
    table.saw("GC", version, code);
    assert_eq!(
        enrolled(lab, &third.name),
        code != 0,
        "{version}: what is not listed is forgotten"
    );
    assert!(
        enrolled(lab, &second.name),
        "{version}: what is listed stays"
    );
}

fn without_agent(column: &Column, table: &mut Table) {
    let Column {
        version,
        network,
        first,
        second,
    } = column;
    let previous = &second.1.result;
    let mut call = |row: &str, verb: &str, pod: &Sandbox| {
        let ran = network.mesh(verb, pod, previous).unwrap();
        table.saw(&format!("{row}, agent away"), version, ran.code().unwrap());
    };
    call("STATUS", "STATUS", first);
    call("ADD", "ADD", first);
    assert_eq!(
        first.our_rules().unwrap(),
        Vec::<String>::new(),
        "a failed ADD leaves no rules"
    );
    call("CHECK", "CHECK", &second.0);
    assert!(
        !second.0.our_rules().unwrap().is_empty(),
        "an agent that is away takes no rules along"
    );
    call("DEL", "DEL", &second.0);
    assert_eq!(
        second.0.our_rules().unwrap(),
        Vec::<String>::new(),
        "DEL takes rules out by itself"
    );
    let mut input = network.input(&network.mesh, &Value::Null);
    input["cni.dev/valid-attachments"] = json!([]);
    let ran = network
        .raw(
            &network.environment("GC", first),
            input.to_string().as_bytes(),
        )
        .unwrap();
    table.saw("GC, agent away", version, ran.code().unwrap());
}
