//! A hundred pods at once, without the bundle and with it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use e2e_cluster::workloads::{account, list, namespace, pod};
use e2e_cluster::{Bundle, Cluster, Options, PodWatch};
use e2e_netlab::wait;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);
const STARTED: Duration = Duration::from_secs(300);
const PODS: usize = 100;
const ACCOUNTS: usize = 10;

#[test]
fn a_hundred_pods_at_once_are_in_the_mesh() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    let outside = burst(&cluster, "plain", false);
    let bundle = Bundle::install(&cluster, &[], PATIENCE).unwrap();
    let before = signed(&cluster);
    let inside = burst(&cluster, "mesh", true);
    println!("  created to ready, {PODS} pods at once, two nodes:");
    for (what, took) in [("without the bundle", &outside), ("in the mesh", &inside)] {
        println!(
            "  {what}: p50 {:.1} s, p99 {:.1} s",
            at(took, 50),
            at(took, 99)
        );
    }
    // One for each account and node, and none twice.
    let nodes = cluster.nodes().unwrap();
    let most = ACCOUNTS * nodes.len();
    let asked = signed(&cluster) - before;
    println!("  certificates signed: {asked}");
    assert!(asked <= most && asked >= ACCOUNTS, "{asked} certificates");
    for node in &nodes {
        let log = bundle.log(node).unwrap();
        println!(
            "  {node}: {} pods enrolled",
            log.matches("pod enrolled").count()
        );
    }
}

/// Makes them all and waits until each is ready, and in the mesh if it shall be.
fn burst(cluster: &Cluster, space: &str, ambient: bool) -> Vec<Duration> {
    let accounts: Vec<String> = (0..ACCOUNTS)
        .map(|number| format!("account-{number}"))
        .collect();
    let mut items = vec![namespace(space, ambient)];
    items.extend(accounts.iter().map(|name| account(space, name)));
    cluster.apply(&list(&items)).unwrap();
    let nodes = cluster.nodes().unwrap();
    let pods: Vec<_> = (0..PODS)
        .map(|number| {
            let node = &nodes[number % nodes.len()];
            let mut pod = pod(space, &format!("pod-{number}"), node, &[]);
            // Each account has pods on both nodes.
            pod["spec"]["serviceAccountName"] =
                accounts[number / nodes.len() % ACCOUNTS].clone().into();
            pod
        })
        .collect();
    let watch = PodWatch::start(cluster, space).unwrap();
    cluster.apply(&list(&pods)).unwrap();
    let took = watch.ready(PODS, STARTED).unwrap();
    if ambient {
        all_annotated(cluster, space);
    }
    let gone = ["delete", "namespace", space, "--timeout=120s"];
    cluster.kubectl(&gone).unwrap();
    took
}

fn all_annotated(cluster: &Cluster, space: &str) {
    let path = r"jsonpath={.items[*].metadata.annotations.ambient\.istio\.io/redirection}";
    wait::until("all pods say that they are in the mesh", PATIENCE, || {
        let text = cluster.kubectl(&["-n", space, "get", "pods", "-o", path])?;
        let count = text
            .split_whitespace()
            .filter(|word| *word == "enabled")
            .count();
        anyhow::ensure!(count == PODS, "{count} of {PODS}");
        Ok(())
    })
    .unwrap();
}

/// How many certificates istiod has signed.
fn signed(cluster: &Cluster) -> usize {
    let ask = ["pilot-discovery", "request", "GET", "/metrics"];
    let text = cluster.exec("istio-system", "deploy/istiod", &ask).unwrap();
    let mut lines = text.lines();
    let count =
        lines.find_map(|line| line.strip_prefix("citadel_server_success_cert_issuance_count "));
    // It is not told before the first.
    count.map_or(0, |count| count.trim().parse().unwrap())
}

fn at(took: &[Duration], percent: usize) -> f64 {
    took[(took.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64()
}
