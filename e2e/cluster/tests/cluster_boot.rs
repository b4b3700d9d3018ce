//! A node loses its power: of its pods that belong to the mesh nothing is sent in clear while it comes up again.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use e2e_cluster::workloads::{account, list, namespace, pod, service};
use e2e_cluster::{Bundle, Cluster, Options};
use e2e_netlab::log::access_lines;
use e2e_netlab::wait;
use serde_json::json;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);
const MARKER: &str = "in-clear-this-is-seen";
const ADDRESS: &str = "10.96.77.77";

fn rounds() -> usize {
    std::env::var("AMBIENT_BOOT_ROUNDS").map_or(2, |text| text.parse().unwrap())
}

#[test]
fn nothing_is_in_clear_while_a_node_comes_up() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    let bundle = Bundle::install(&cluster, &[], PATIENCE).unwrap();
    let nodes = cluster.nodes().unwrap();
    let mut server = service("shop", "server", &[(90, 9000)]);
    server["spec"]["clusterIP"] = json!(ADDRESS);
    // It calls from its first moment on, and is started again whenever it ends.
    let to = format!("{ADDRESS}:90");
    let calling = [
        "load",
        "--to",
        &to,
        "--marker",
        MARKER,
        "--rate",
        "50",
        "--keep",
        "0",
        "--seconds",
        "100000",
    ];
    let items = [
        namespace("shop", true),
        account("shop", "client"),
        account("shop", "server"),
        server,
        pod("shop", "server", &nodes[1], &["serve", "--echo", "9000"]),
        pod("shop", "client", &nodes[0], &calling),
    ];
    cluster.apply(&list(&items)).unwrap();
    let pods = ["-n", "shop", "pod/server", "pod/client"];
    cluster.wait(&pods, "condition=Ready", PATIENCE).unwrap();
    until_called(&bundle, &nodes[1], 0);
    let mut slowest = Duration::ZERO;
    for round in 0..rounds() {
        let before = calls(&bundle, &nodes[1]);
        let capture = cluster.capture(&nodes[0]).unwrap();
        let began = Instant::now();
        cluster.reboot(&nodes[0]).unwrap();
        until_called(&bundle, &nodes[1], before);
        slowest = slowest.max(began.elapsed());
        let traffic = capture.stop().unwrap();
        assert_eq!(traffic.occurrences(MARKER.as_bytes()), 0, "round {round}");
    }
    println!(
        "  {} times: nothing in clear; power failure to the first call at most {:.1} s",
        rounds(),
        slowest.as_secs_f64(),
    );
}

/// How many calls of the client the server's node has seen.
fn calls(bundle: &Bundle<'_>, node: &str) -> usize {
    let log = bundle.log(node).unwrap();
    let lines = access_lines(&log).into_iter();
    let ours = |line: &e2e_netlab::log::AccessLine| {
        line.field("src.identity").ends_with("/sa/client") && line.field("direction") == "inbound"
    };
    lines.filter(ours).count()
}

fn until_called(bundle: &Bundle<'_>, node: &str, before: usize) {
    wait::until("the client's calls come through", PATIENCE, || {
        let count = calls(bundle, node);
        // Some of those from before may be told late.
        anyhow::ensure!(count > before + 200, "{count} calls, {before} before");
        Ok(())
    })
    .unwrap();
}
