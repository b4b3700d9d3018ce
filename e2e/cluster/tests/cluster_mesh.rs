//! The bundle's chart beside a real istiod: pods of a labelled namespace call each other across nodes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use anyhow::{Context as _, ensure};
use e2e_cluster::workloads::{account, list, namespace, pod, service};
use e2e_cluster::{Bundle, Cluster, Options};
use e2e_netlab::log::access_lines;
use e2e_netlab::wait;
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);
const HBONE: u16 = 15008;

#[test]
fn a_labelled_namespace_is_in_the_mesh() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    for phase in cluster.phases() {
        println!("  {:5.1} s  {}", phase.took.as_secs_f64(), phase.what);
    }
    let bundle = Bundle::install(&cluster, &[], PATIENCE).unwrap();
    let nodes = cluster.nodes().unwrap();
    let (first, second) = (nodes[0].as_str(), nodes[1].as_str());
    let shop = list(&[
        namespace("shop", true),
        account("shop", "client"),
        account("shop", "server"),
        pod("shop", "client", first, &[]),
        pod(
            "shop",
            "server",
            second,
            &["serve", "--http", "8080", "--echo", "9000"],
        ),
        service("shop", "server", &[(80, 8080), (90, 9000)]),
    ]);
    cluster.apply(&shop).unwrap();
    let pods = ["-n", "shop", "pod/client", "pod/server"];
    cluster.wait(&pods, "condition=Ready", PATIENCE).unwrap();
    calls_go_over_hbone_only(&cluster, &bundle, first, second);
    istiod_is_content(&cluster, &bundle, &nodes);
    istioctl_prints_what_is_there(&bundle, first);
    let why = bundle.explain(first, "shop/client").unwrap();
    assert!(why.contains("istio.io/dataplane-mode=ambient"), "{why}");
}

/// Calls from the client until one is answered; the server and its address may be known a moment later.
fn call(cluster: &Cluster, to: &str) -> String {
    let words = [
        "/podkit",
        "call",
        "http",
        "--to",
        to,
        "--path",
        "/in-clear-this-is-seen",
    ];
    wait::until(to, PATIENCE, || cluster.exec("shop", "client", &words)).unwrap()
}

fn calls_go_over_hbone_only(cluster: &Cluster, bundle: &Bundle<'_>, first: &str, second: &str) {
    let capture = cluster.capture(second).unwrap();
    let answer = call(cluster, "server:80");
    assert!(answer.contains("\"server\""), "{answer}");
    let traffic = capture.stop().unwrap();
    assert_eq!(traffic.occurrences(b"in-clear-this-is-seen"), 0);
    assert!(traffic.port(HBONE).connections > 0, "{:?}", traffic.ports);
    assert_eq!(traffic.port(8080).packets, 0, "{:?}", traffic.ports);
    // Signed by istiod for each pod's own account: both sides say whom they saw.
    let identity = |name: &str| format!("spiffe://cluster.local/ns/shop/sa/{name}");
    for node in [first, second] {
        wait::until("the access line", PATIENCE, || {
            let log = bundle.log(node)?;
            let lines = access_lines(&log);
            let wanted = [
                ("src.identity", identity("client")),
                ("dst.identity", identity("server")),
                ("dst.workload", "server".to_owned()),
            ];
            let wanted: Vec<(&str, &str)> = wanted.iter().map(|(k, v)| (*k, v.as_str())).collect();
            ensure!(lines.iter().any(|line| line.has(&wanted)), "{log}");
            Ok(())
        })
        .unwrap();
    }
}

/// Every node has acknowledged the latest of both types, and nothing that istiod said was rejected.
fn istiod_is_content(cluster: &Cluster, bundle: &Bundle<'_>, nodes: &[String]) {
    let ask = ["pilot-discovery", "request", "GET", "/debug/syncz"];
    for node in nodes {
        let name = format!("{}.istio-system", bundle.pod(node).unwrap());
        wait::until(&format!("{name} is synced"), PATIENCE, || {
            let text = cluster.exec("istio-system", "deploy/istiod", &ask)?;
            let all: Vec<Value> = serde_json::from_str(&text)?;
            let found = all.iter().find(|one| one["proxy"] == *name);
            let resources = found.and_then(|one| one["resources"].as_object());
            let resources = resources.with_context(|| format!("no {name} in {text}"))?;
            ensure!(resources.len() == 2, "{text}");
            for state in resources.values() {
                ensure!(state["sent"] == state["acked"], "{text}");
                ensure!(state["lastError"].is_null(), "{text}");
            }
            Ok(())
        })
        .unwrap();
    }
    let log = ["-n", "istio-system", "logs", "deploy/istiod", "--tail=-1"];
    let log = cluster.kubectl(&log).unwrap();
    assert!(!log.contains("ACK ERROR"), "{log}");
}

fn istioctl_prints_what_is_there(bundle: &Bundle<'_>, node: &str) {
    let workloads = bundle.ztunnel_config(node, "workloads").unwrap();
    let text = workloads.to_string();
    for name in ["client", "server"] {
        assert!(text.contains(&format!("\"{name}\"")), "no {name} in {text}");
    }
    let certificates = bundle
        .ztunnel_config(node, "certificates")
        .unwrap()
        .to_string();
    assert!(
        certificates.contains("/ns/shop/sa/client"),
        "{certificates}"
    );
    // Of leaves and of roots.
    assert!(
        !certificates.contains("\"serialNumber\":null"),
        "{certificates}"
    );
}
