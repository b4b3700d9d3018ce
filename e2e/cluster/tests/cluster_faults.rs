//! What operators meet: the control plane away, the API server away, the agent killed, upgraded, refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use e2e_cluster::{MARK, Options, Outcome, Shop, nobody_noticed};
use e2e_netlab::{Part, wait};
use nix::sys::signal::Signal;
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
/// How long a load goes on after something has happened to what carries it.
const AFTER: Duration = Duration::from_secs(8);

/// How long the control plane and the API server are away.
fn away() -> Duration {
    let seconds = std::env::var("AMBIENT_FAULT_SECONDS").map_or(30, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

fn open() -> Shop {
    Shop::open(&Options::default(), &[]).unwrap()
}

#[test]
fn faults_of_the_agent() {
    let shop = open();
    the_worker_is_killed(&shop);
    both_are_killed(&shop);
    the_daemonset_is_rolled(&shop);
}

#[test]
fn faults_of_others() {
    let shop = open();
    istiod_refuses_to_sign(&shop);
    the_api_server_hangs(&shop);
    the_control_plane_goes_away(&shop);
}

fn report(what: &str, outcome: &Outcome) {
    println!(
        "  {what}: {} of {} new connections failed, {} of {} long-lived lost, p99 {} ms",
        outcome.failed, outcome.made, outcome.lost, outcome.kept, outcome.p99_ms
    );
}

fn scale_istiod(shop: &Shop, replicas: &str) {
    let count = format!("--replicas={replicas}");
    let scale = ["-n", "istio-system", "scale", "deployment/istiod", &count];
    shop.cluster.kubectl(&scale).unwrap();
    if replicas == "0" {
        let gone = ["-n", "istio-system", "pod", "-l", "app=istiod"];
        shop.cluster.wait(&gone, "delete", PATIENCE).unwrap();
    } else {
        let up = ["-n", "istio-system", "deployment/istiod"];
        shop.cluster
            .wait(&up, "condition=Available", PATIENCE)
            .unwrap();
    }
}

/// Running pods are served, and a new pod whose account has a certificate on the node is reached from the other one, with
/// nothing in clear.
fn the_control_plane_goes_away(shop: &Shop) {
    let load = shop.load().unwrap();
    scale_istiod(shop, "0");
    let mut late = shop.beside_server("late").unwrap();
    late["spec"]["serviceAccountName"] = "server".into();
    let capture = shop.cluster.capture(&shop.nodes[1]).unwrap();
    shop.cluster.apply(&late.to_string()).unwrap();
    shop.until_reached("late").unwrap();
    let traffic = capture.stop().unwrap();
    assert_eq!(traffic.occurrences(MARK.as_bytes()), 0);
    thread::sleep(away());
    scale_istiod(shop, "1");
    nobody_noticed("istiod away", load).unwrap();
    shop.until_reached("late").unwrap();
    shop.remove("late").unwrap();
}

/// It hangs, which is worse than being away: nothing is refused.
fn the_api_server_hangs(shop: &Shop) {
    let load = shop.load().unwrap();
    let control = shop.cluster.control().unwrap();
    control.signal("kube-apiserver", Signal::SIGSTOP).unwrap();
    thread::sleep(away());
    control.signal("kube-apiserver", Signal::SIGCONT).unwrap();
    nobody_noticed("API server hangs", load).unwrap();
    // What it says afterwards is heard: a new pod is taken in.
    shop.add("late").unwrap();
    shop.until_reached("late").unwrap();
    shop.remove("late").unwrap();
}

/// New connections wait for the next worker; those that it carried are reset.
fn the_worker_is_killed(shop: &Shop) {
    let load = shop.load().unwrap();
    shop.cluster
        .node(&shop.nodes[1])
        .unwrap()
        .kill_agent(Part::Worker)
        .unwrap();
    thread::sleep(AFTER);
    let outcome = load.stop().unwrap();
    report("worker killed", &outcome);
    let text = &outcome.report;
    let cut = text["steady"]["broken"][0]["at_ms"].as_f64();
    let cut = cut.unwrap_or_else(|| panic!("nothing was reset: {text}"));
    for failure in text["failures"].as_array().unwrap() {
        assert_eq!(failure["error"], "reset", "{text}");
        assert!(failure["began_ms"].as_f64().unwrap() <= cut, "{text}");
    }
    // At 200 a second it carries a few new ones at a time.
    assert!(outcome.failed <= 20, "{text}");
}

/// In a container the holder is the first process: with it the container ends, and the kubelet starts another.
fn both_are_killed(shop: &Shop) {
    let load = shop.load().unwrap();
    shop.cluster
        .node(&shop.nodes[1])
        .unwrap()
        .kill_agent(Part::Holder)
        .unwrap();
    thread::sleep(AFTER);
    shop.bundle().wait(PATIENCE).unwrap();
    shop.until_reached("server").unwrap();
    let outcome = load.stop().unwrap();
    report("agent's container killed", &outcome);
}

fn the_daemonset_is_rolled(shop: &Shop) {
    let load = shop.load().unwrap();
    let restart = [
        "-n",
        "istio-system",
        "rollout",
        "restart",
        "daemonset/ztunnel",
    ];
    shop.cluster.kubectl(&restart).unwrap();
    shop.bundle().wait(PATIENCE).unwrap();
    thread::sleep(AFTER);
    nobody_noticed("DaemonSet rolled", load).unwrap();
}

/// The pod is held, and an event on it says why.
fn istiod_refuses_to_sign(shop: &Shop) {
    let trust = |accounts: &str| {
        let word = format!("CA_TRUSTED_NODE_ACCOUNTS={accounts}");
        let set = [
            "-n",
            "istio-system",
            "set",
            "env",
            "deployment/istiod",
            &word,
        ];
        shop.cluster.kubectl(&set).unwrap();
        let done = [
            "-n",
            "istio-system",
            "rollout",
            "status",
            "deployment/istiod",
        ];
        shop.cluster.kubectl(&done).unwrap();
    };
    trust("nobody/nobody");
    shop.add("late").unwrap();
    wait::until("an event that says why", PATIENCE, || {
        let text = shop.events("late")?;
        anyhow::ensure!(text.contains("certificate"), "{text}");
        println!("{text}");
        Ok(())
    })
    .unwrap();
    trust("istio-system/ztunnel");
    shop.until_reached("late").unwrap();
    shop.remove("late").unwrap();
}
