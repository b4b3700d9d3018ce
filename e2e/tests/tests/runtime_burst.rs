//! Many pods at the same moment.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use e2e_netlab::{Node, Pod, PodSpec};
use e2e_tests::runtime::{self, MESHED};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Instant;

const AT_ONCE: usize = 100;

fn known(node: &Node) -> Vec<Value> {
    let mut dump = node.agent_dump().unwrap();
    serde_json::from_value(dump["pods"].take()).unwrap()
}

#[test]
fn a_hundred_pods_created_at_once_all_start_in_the_mesh_and_leave_it() {
    let specs: Vec<(&str, PodSpec)> = (0..AT_ONCE)
        .map(|number| ("a", PodSpec::idle(MESHED, &format!("pod-{number}"))))
        .collect();
    let mut mesh = runtime::namespaces();
    for (number, (_, spec)) in specs.iter().enumerate() {
        mesh.pod(spec, &format!("account-{}", number % 10));
    }
    let lab = runtime::lab(&["a"], &mesh).unwrap();
    let node = lab.node("a").unwrap();

    let began = Instant::now();
    let pods = lab.run_pods(&specs).unwrap();
    let started = began.elapsed();
    let addresses: BTreeSet<_> = pods.iter().flat_map(Pod::ips).collect();
    assert_eq!(
        addresses.len(),
        2 * AT_ONCE,
        "each has two addresses of its own"
    );
    let enrolled = known(node);
    let enrolled: BTreeSet<&str> = enrolled
        .iter()
        .filter(|pod| pod["stage"] == "enrolled")
        .filter_map(|pod| pod["containerId"].as_str())
        .collect();
    let sandboxes: BTreeSet<&str> = pods.iter().map(Pod::sandbox).collect();
    assert_eq!(enrolled, sandboxes, "the agent's pods are the runtime's");

    let began = Instant::now();
    std::thread::scope(|scope| {
        let leaving: Vec<_> = pods
            .iter()
            .map(|pod| scope.spawn(|| pod.remove()))
            .collect();
        for one in leaving {
            one.join().unwrap().unwrap();
        }
    });
    assert_eq!(
        known(node),
        Vec::<Value>::new(),
        "the agent has forgotten them"
    );
    println!(
        "{AT_ONCE} pods at once through CRI: all run after {started:.1?}, all gone after another {:.1?}",
        began.elapsed()
    );
    lab.down().unwrap();
}
