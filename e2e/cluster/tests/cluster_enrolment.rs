//! Pods that run are taken into the mesh and out of it by their labels while they are called, and nobody notices.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use e2e_cluster::workloads::{MODE, account, list, namespace, pod, service};
use e2e_cluster::{Bundle, Cluster, Load, Options, Outcome};
use e2e_netlab::wait;
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);
const CYCLES: usize = 10;
/// How long each state is held: the load is what this is about.
const HELD: Duration = Duration::from_secs(3);

#[test]
fn labels_take_running_pods_in_and_out_without_a_gap() {
    let cluster = Cluster::start(&Options::default()).unwrap();
    let bundle = Bundle::install(&cluster, &[], PATIENCE).unwrap();
    let nodes = cluster.nodes().unwrap();
    let shop = list(&[
        namespace("shop", false),
        account("shop", "client"),
        account("shop", "server"),
        pod("shop", "client", &nodes[0], &[]),
        pod(
            "shop",
            "server",
            &nodes[1],
            &["serve", "--http", "8080", "--echo", "9000"],
        ),
        service("shop", "server", &[(80, 8080), (90, 9000)]),
    ]);
    cluster.apply(&shop).unwrap();
    let pods = ["-n", "shop", "pod/client", "pod/server"];
    cluster.wait(&pods, "condition=Ready", PATIENCE).unwrap();
    // The nodes' proxies hear of a service a moment after it is there.
    wait::until("the service answers", PATIENCE, || {
        let call = ["/podkit", "call", "http", "--to", "server:80"];
        cluster.exec("shop", "client", &call)
    })
    .unwrap();
    under_load(&cluster, &bundle, "the namespace's label", "namespace/shop");
    under_load(&cluster, &bundle, "one pod's label", "pod/server");
}

/// Ten times in and out, with everything counted.
fn under_load(cluster: &Cluster, bundle: &Bundle<'_>, what: &str, labelled: &str) {
    let path = "jsonpath={.spec.clusterIP}";
    let address = cluster
        .kubectl(&["-n", "shop", "get", "service/server", "-o", path])
        .unwrap();
    let to = format!("{address}:90");
    let options = [
        "--to",
        &to,
        "--rate",
        "200",
        "--keep",
        "20",
        "--seconds",
        "600",
    ];
    let load = Load::start(cluster, "shop", "client", &options).unwrap();
    let began = Instant::now();
    for cycle in 0..CYCLES {
        for (word, enrolled) in [
            (format!("{MODE}=ambient"), true),
            (format!("{MODE}-"), false),
        ] {
            cluster
                .kubectl(&["-n", "shop", "label", labelled, &word])
                .unwrap();
            wait::until(
                &format!("cycle {cycle}: enrolled: {enrolled}"),
                PATIENCE,
                || is_enrolled(cluster, "server", enrolled),
            )
            .unwrap();
            thread::sleep(HELD);
        }
    }
    let lasted = began.elapsed();
    let outcome = load.stop().unwrap();
    report(what, lasted, &outcome);
    if outcome.failed > 0 || outcome.lost > 0 {
        for node in cluster.nodes().unwrap() {
            println!("{}", bundle.log(&node).unwrap());
        }
    }
    assert_eq!(outcome.failed, 0, "{}", outcome.report);
    assert_eq!((outcome.kept, outcome.lost), (20, 0), "{}", outcome.report);
}

fn is_enrolled(cluster: &Cluster, pod: &str, enrolled: bool) -> anyhow::Result<()> {
    let path = r"jsonpath={.metadata.annotations.ambient\.istio\.io/redirection}";
    let pod = format!("pod/{pod}");
    let text = cluster.kubectl(&["-n", "shop", "get", &pod, "-o", path])?;
    anyhow::ensure!(
        (text == "enabled") == enrolled,
        "the annotation is {text:?}"
    );
    Ok(())
}

fn report(what: &str, lasted: Duration, outcome: &Outcome) {
    println!(
        "  {what}: {CYCLES} times in and out in {:.0} s: {} of {} new connections failed, {} of {} long-lived lost; \
         p50 {} ms, p99 {} ms",
        lasted.as_secs_f64(),
        outcome.failed,
        outcome.made,
        outcome.lost,
        outcome.kept,
        outcome.p50_ms,
        outcome.p99_ms,
    );
}
