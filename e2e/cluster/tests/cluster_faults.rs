//! What operators meet: the control plane away, the API server away, the agent killed, upgraded, refused.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

use e2e_cluster::workloads::{account, list, namespace, pod, service};
use e2e_cluster::{Bundle, Cluster, Load, Options, Outcome};
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

struct Scene {
    cluster: Cluster,
    nodes: Vec<String>,
}

impl Scene {
    fn set() -> Self {
        let cluster = Cluster::start(&Options::default()).unwrap();
        Bundle::install(&cluster, &[], PATIENCE).unwrap();
        let nodes = cluster.nodes().unwrap();
        let mut items = vec![namespace("shop", true)];
        for name in ["client", "server", "late"] {
            items.push(account("shop", name));
        }
        items.extend([
            pod("shop", "client", &nodes[0], &[]),
            pod("shop", "server", &nodes[1], &SERVES),
            service("shop", "server", &[(80, 8080), (90, 9000)]),
        ]);
        cluster.apply(&list(&items)).unwrap();
        let pods = ["-n", "shop", "pod/client", "pod/server"];
        cluster.wait(&pods, "condition=Ready", PATIENCE).unwrap();
        let scene = Self { cluster, nodes };
        scene.until_answered(&format!("{}:8080", scene.address("server")));
        scene
    }

    fn bundle(&self) -> Bundle<'_> {
        Bundle::on(&self.cluster)
    }

    fn get(&self, what: &str, path: &str) -> String {
        let path = format!("jsonpath={{{path}}}");
        self.cluster
            .kubectl(&["-n", "shop", "get", what, "-o", &path])
            .unwrap()
    }

    fn address(&self, pod: &str) -> String {
        self.get(&format!("pod/{pod}"), ".status.podIP")
    }

    fn until_answered(&self, to: &str) {
        let words = [
            "/podkit",
            "call",
            "http",
            "--to",
            to,
            "--path",
            "/in-clear-this-is-seen",
            "--timeout-ms",
            "20000",
        ];
        wait::until(to, PATIENCE, || self.cluster.exec("shop", "client", &words)).unwrap();
    }

    fn add(&self, name: &str) {
        let new = pod("shop", name, &self.nodes[1], &SERVES);
        self.cluster.apply(&new.to_string()).unwrap();
    }

    fn until_reached(&self, name: &str) {
        let what = ["-n", "shop", &format!("pod/{name}")];
        let ready = self.cluster.wait(&what, "condition=Ready", PATIENCE);
        ready.unwrap();
        self.until_answered(&format!("{}:8080", self.address(name)));
    }

    fn remove(&self, name: &str) {
        let pod = format!("pod/{name}");
        self.cluster
            .kubectl(&["-n", "shop", "delete", &pod])
            .unwrap();
    }

    fn load(&self) -> Load {
        let to = format!("{}:90", self.get("service/server", ".spec.clusterIP"));
        let options = [
            "--to",
            &to,
            "--rate",
            "100",
            "--keep",
            "10",
            "--seconds",
            "600",
        ];
        Load::start(&self.cluster, "shop", "client", &options).unwrap()
    }
}

const SERVES: [&str; 5] = ["serve", "--http", "8080", "--echo", "9000"];

#[test]
fn faults_of_the_agent() {
    let scene = Scene::set();
    the_worker_is_killed(&scene);
    both_are_killed(&scene);
    the_daemonset_is_rolled(&scene);
}

#[test]
fn faults_of_others() {
    let scene = Scene::set();
    istiod_refuses_to_sign(&scene);
    the_api_server_hangs(&scene);
    the_control_plane_goes_away(&scene);
}

fn report(what: &str, outcome: &Outcome) {
    println!(
        "  {what}: {} of {} new connections failed, {} of {} long-lived lost, p99 {} ms",
        outcome.failed, outcome.made, outcome.lost, outcome.kept, outcome.p99_ms
    );
}

fn scale_istiod(scene: &Scene, replicas: &str) {
    let count = format!("--replicas={replicas}");
    let scale = ["-n", "istio-system", "scale", "deployment/istiod", &count];
    scene.cluster.kubectl(&scale).unwrap();
    if replicas == "0" {
        let gone = ["-n", "istio-system", "pod", "-l", "app=istiod"];
        scene.cluster.wait(&gone, "delete", PATIENCE).unwrap();
    } else {
        let up = ["-n", "istio-system", "deployment/istiod"];
        scene
            .cluster
            .wait(&up, "condition=Available", PATIENCE)
            .unwrap();
    }
}

/// Running pods are served, and a new pod whose account has a certificate on the node is reached from the other one, with
/// nothing in clear.
fn the_control_plane_goes_away(scene: &Scene) {
    let load = scene.load();
    scale_istiod(scene, "0");
    let mut late = pod("shop", "late", &scene.nodes[1], &SERVES);
    late["spec"]["serviceAccountName"] = "server".into();
    let capture = scene.cluster.capture(&scene.nodes[1]).unwrap();
    scene.cluster.apply(&late.to_string()).unwrap();
    scene.until_reached("late");
    let traffic = capture.stop().unwrap();
    assert_eq!(traffic.occurrences(b"in-clear-this-is-seen"), 0);
    thread::sleep(away());
    scale_istiod(scene, "1");
    let outcome = load.stop().unwrap();
    report("istiod away", &outcome);
    assert_eq!((outcome.failed, outcome.lost), (0, 0), "{}", outcome.report);
    scene.until_reached("late");
    scene.remove("late");
}

/// It hangs, which is worse than being away: nothing is refused.
fn the_api_server_hangs(scene: &Scene) {
    let load = scene.load();
    let control = scene.cluster.control().unwrap();
    control.signal("kube-apiserver", Signal::SIGSTOP).unwrap();
    thread::sleep(away());
    control.signal("kube-apiserver", Signal::SIGCONT).unwrap();
    let outcome = load.stop().unwrap();
    report("API server hangs", &outcome);
    assert_eq!((outcome.failed, outcome.lost), (0, 0), "{}", outcome.report);
    // What it says afterwards is heard: a new pod is taken in.
    scene.add("late");
    scene.until_reached("late");
    scene.remove("late");
}

/// New connections wait for the next worker; those that it carried are reset.
fn the_worker_is_killed(scene: &Scene) {
    let load = scene.load();
    scene
        .cluster
        .node(&scene.nodes[1])
        .unwrap()
        .kill_agent(Part::Worker)
        .unwrap();
    thread::sleep(AFTER);
    let outcome = load.stop().unwrap();
    report("worker killed", &outcome);
    assert!(outcome.failed <= 2, "{}", outcome.report);
}

/// In a container the holder is the first process: with it the container ends, and the kubelet starts another.
fn both_are_killed(scene: &Scene) {
    let load = scene.load();
    scene
        .cluster
        .node(&scene.nodes[1])
        .unwrap()
        .kill_agent(Part::Holder)
        .unwrap();
    thread::sleep(AFTER);
    scene.bundle().wait(PATIENCE).unwrap();
    scene.until_answered(&format!("{}:8080", scene.address("server")));
    let outcome = load.stop().unwrap();
    report("agent's container killed", &outcome);
}

fn the_daemonset_is_rolled(scene: &Scene) {
    let load = scene.load();
    let restart = [
        "-n",
        "istio-system",
        "rollout",
        "restart",
        "daemonset/ztunnel",
    ];
    scene.cluster.kubectl(&restart).unwrap();
    scene.bundle().wait(PATIENCE).unwrap();
    thread::sleep(AFTER);
    let outcome = load.stop().unwrap();
    report("DaemonSet rolled", &outcome);
    assert_eq!(outcome.failed, 0, "{}", outcome.report);
}

/// The pod is held, and an event on it says why.
fn istiod_refuses_to_sign(scene: &Scene) {
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
        scene.cluster.kubectl(&set).unwrap();
        let done = [
            "-n",
            "istio-system",
            "rollout",
            "status",
            "deployment/istiod",
        ];
        scene.cluster.kubectl(&done).unwrap();
    };
    trust("nobody/nobody");
    scene.add("late");
    wait::until("an event that says why", PATIENCE, || {
        let about = "involvedObject.name=late";
        let asked = ["-n", "shop", "get", "events", "--field-selector", about];
        let text = scene.cluster.kubectl(&asked)?;
        anyhow::ensure!(text.contains("certificate"), "{text}");
        println!("{text}");
        Ok(())
    })
    .unwrap();
    trust("istio-system/ztunnel");
    scene.until_reached("late");
    scene.remove("late");
}
