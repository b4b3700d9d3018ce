//! The harness itself: a cluster comes up in time, does what a cluster does, and leaves nothing behind.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use e2e_cluster::{Cluster, ClusterRecord, Existing, Istio, Left, Options, Programs, left_of};
use e2e_netlab::{ProcessId, run, wait};
use nix::sys::signal::Signal;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// From nothing to two nodes that are ready.
const START: Duration = Duration::from_secs(15);
/// Whatever else the machine does only adds to the time: one round within the limit has shown it.
const ROUNDS: usize = 3;

/// Each test has the machine for itself.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bare(istio: Istio) -> Cluster {
    let options = Options {
        istio,
        ..Options::default()
    };
    Cluster::bare(&Programs::from_env().unwrap(), &options).unwrap()
}

/// What a cluster must not change: this machine's own links, routes, addresses, rules, limits and mounts.
fn machine() -> Vec<String> {
    let commands: [(&str, &[&str]); 4] = [
        ("iptables-save", &[]),
        ("ip", &["-brief", "address"]),
        ("ip", &["route", "show", "table", "all"]),
        ("ip", &["netns"]),
    ];
    let mut found = Vec::new();
    for (program, arguments) in commands {
        let text = run(e2e_netlab::program(program).args(arguments)).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        found.extend(lines.map(str::to_owned));
    }
    for file in [
        "/proc/self/mountinfo",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/fs/inotify/max_user_instances",
        "/proc/sys/fs/inotify/max_user_watches",
    ] {
        let text = std::fs::read_to_string(file).unwrap();
        found.extend(text.lines().map(str::to_owned));
    }
    found
}

#[test]
fn two_nodes_are_ready_in_time_and_nothing_is_left_of_them() {
    let _turn = turn();
    // The first look at the rules may make the kernel load what it needs for them.
    machine();
    let before = machine();
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let cluster = bare(Istio::Absent);
        let mut total = Duration::ZERO;
        for phase in cluster.phases() {
            total += phase.took;
            println!("  {:5.1} s  {}", total.as_secs_f64(), phase.what);
            if phase.what == "nodes ready" {
                best = best.min(total);
            }
        }
        assert_eq!(cluster.nodes().unwrap(), ["a", "b"]);
        let name = cluster.name().unwrap().to_owned();
        assert!(!left_of(&name).unwrap().processes.is_empty());
        drop(cluster);
        assert_eq!(left_of(&name).unwrap(), Left::default());
        assert_eq!(machine(), before);
        if best < START {
            return;
        }
    }
    panic!("the nodes were ready after {best:?} at best, the limit is {START:?}");
}

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  nodeSelector: {kubernetes.io/hostname: SECOND}
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "localhost/podkit:1", imagePullPolicy: Never, args: [serve, --http, "8080"]}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeSelector: {kubernetes.io/hostname: FIRST}
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: "localhost/podkit:1", imagePullPolicy: Never}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec:
  selector: {app: server}
  ports:
  - {name: http, port: 80, targetPort: 8080}
"#;

/// A scenario: it does not know whose cluster it is.
fn services_are_reached_by_name_and_by_address(cluster: &Cluster) {
    let nodes = cluster.nodes().unwrap();
    let pods = PODS
        .replace("FIRST", &nodes[0])
        .replace("SECOND", &nodes[1]);
    cluster.apply(&pods).unwrap();
    cluster
        .wait(&["pod/server", "pod/client"], "condition=Ready", PATIENCE)
        .unwrap();
    let of = |what: &str, path: &str| {
        let path = format!("jsonpath={{{path}}}");
        cluster.kubectl(&["get", what, "-o", &path]).unwrap()
    };
    assert_eq!(of("pod/client", ".spec.nodeName"), nodes[0]);
    assert_eq!(of("pod/server", ".spec.nodeName"), nodes[1]);
    let by_address = format!("{}:80", of("service/server", ".spec.clusterIP"));
    let by_name = "server.default.svc.cluster.local:80";
    for target in ["server:80", by_name, &by_address] {
        let call = ["/podkit", "call", "http", "--to", target];
        // The proxy learns of a pod a moment after the pod is ready.
        let answer = wait::until(target, PATIENCE, || {
            cluster.exec("default", "client", &call)
        });
        let answer = answer.unwrap();
        println!("  {target}: {}", answer.trim());
        assert!(answer.contains("\"server\""), "{answer}");
    }
}

#[test]
fn pods_reach_services_on_other_nodes_and_istiod_knows_them() {
    let _turn = turn();
    let cluster = bare(Istio::Installed);
    for phase in cluster.phases() {
        println!("  {:5.1} s  {}", phase.took.as_secs_f64(), phase.what);
    }
    services_are_reached_by_name_and_by_address(&cluster);
    istiod_knows(&cluster);
    let outside = cluster.outside().unwrap();
    let existing = Existing::new(outside.kubeconfig(), None).unwrap();
    services_are_reached_by_name_and_by_address(&existing.into());
    drop(outside);
    let name = cluster.name().unwrap().to_owned();
    drop(cluster);
    assert_eq!(left_of(&name).unwrap(), Left::default());
}

/// What istiod would tell a node's agent has the pods in it, and its webhook is reached by the API server.
fn istiod_knows(cluster: &Cluster) {
    let ask = ["pilot-discovery", "request", "GET", "/debug/ambientz"];
    wait::until("istiod knows the pods", PATIENCE, || {
        let text = cluster.exec("istio-system", "deploy/istiod", &ask)?;
        for pod in ["client", "server"] {
            anyhow::ensure!(text.contains(&format!("\"{pod}\"")), "no {pod} in {text}");
        }
        Ok(())
    })
    .unwrap();
    // What names no revision is nobody's to judge where istiod was not installed by istioctl itself.
    // Its place is known to the API server a moment after istiod is ready; until then nobody refuses this.
    let wrong = r#"{"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
        "metadata": {"name": "wrong", "namespace": "default", "labels": {"istio.io/rev": "default"}},
        "spec": {"rules": [{"from": [{"source": {"ipBlocks": ["nonsense"]}}]}]}}"#;
    wait::until("istiod's webhook is called", PATIENCE, || {
        let Err(error) = cluster.accepts(wrong) else {
            anyhow::bail!("it was taken");
        };
        let text = error.to_string();
        anyhow::ensure!(text.contains("istio.io\" denied the request"), "{text}");
        Ok(())
    })
    .unwrap();
}

/// Starts a cluster in a process of its own.
fn elsewhere() -> Child {
    Command::new(env!("CARGO_BIN_EXE_cluster"))
        .args(["up", "--without-istio"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn kill(mut child: Child) {
    let id = ProcessId::of(i32::try_from(child.id()).unwrap()).unwrap();
    id.signal(Signal::SIGKILL).unwrap();
    child.wait().unwrap();
}

/// The name of the cluster that a process is making, as soon as some machines of it run.
fn half_made(child: &Child) -> String {
    let name = format!("ambc-{}-0", child.id());
    wait::until("half a cluster", PATIENCE, || {
        let record = ClusterRecord::read(&Path::new("/run/ambient-cluster").join(&name))?;
        anyhow::ensure!(record.machines.len() == 2, "{record:?}");
        Ok(())
    })
    .unwrap();
    name
}

#[test]
fn a_start_removes_what_killed_runs_left() {
    let _turn = turn();
    machine();
    let before = machine();
    let half = elsewhere();
    let half_name = half_made(&half);
    kill(half);
    assert!(!left_of(&half_name).unwrap().processes.is_empty());
    // This start removes the half, and is killed when it is whole.
    let mut whole = elsewhere();
    let mut lines = BufReader::new(whole.stdout.take().unwrap()).lines();
    let name = lines.find_map(|line| line.unwrap().strip_prefix("up: ").map(str::to_owned));
    let name = name.expect("the cluster comes up");
    assert_eq!(left_of(&half_name).unwrap(), Left::default());
    kill(whole);
    assert!(!left_of(&name).unwrap().processes.is_empty());
    let cluster = bare(Istio::Absent);
    assert_eq!(left_of(&name).unwrap(), Left::default());
    drop(cluster);
    assert_eq!(machine(), before);
}
