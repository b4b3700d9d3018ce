//! A pod that runs comes into the mesh and leaves it, again and again, under load: connections from before, from between and
//! new ones do not notice.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use anyhow::{Result, ensure};
use e2e_netlab::log::access_lines;
use e2e_netlab::mesh::Membership;
use e2e_netlab::{Pod, PodSpec};
use e2e_tests::continuity::{
    Figures, Load, Long, MARKER, New, PORT, REPETITIONS, Scene, Series, Shape, enrolled,
};
use e2e_tests::runtime::{PLAIN, listeners, our_rules};
use e2e_tests::until;
use serde_json::json;
use std::thread;
use std::time::Duration;

/// How long a state lasts, at least.
const WHILE: Duration = Duration::from_millis(800);
/// Fewer connections than the load makes in that time.
const SOME: usize = 80;

/// How others shall speak to the pod, while it is in the mesh.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// As before.
    Plainly,
    /// By tunnel.
    ByTunnel,
}

struct Cycle<'a> {
    scene: &'a mut Scene,
    pod: &'a Pod,
    others: Others,
}

impl Cycle<'_> {
    fn tell(&mut self, membership: Membership) {
        let name = &self.pod.spec().name;
        self.scene.mesh.running(self.pod, name, membership);
        self.scene.lab.write_mesh(&self.scene.mesh).unwrap();
    }

    fn publish(&mut self, protocol: &str) {
        let name = &self.pod.spec().name;
        self.scene.mesh.workload(self.pod, name, protocol, &[]);
        self.scene.lab.publish_mesh(&self.scene.mesh).unwrap();
    }

    fn come_in(&mut self) {
        self.tell(Membership::In);
        let node = self.scene.node(self.pod.node()).unwrap();
        until("the pod is enrolled", || {
            ensure!(enrolled(node, self.pod.sandbox())?, "it is not");
            Ok(())
        })
        .unwrap();
        if self.others == Others::ByTunnel {
            self.publish("HBONE");
        }
    }

    fn leave(&mut self) {
        if self.others == Others::ByTunnel {
            self.publish("TCP");
        }
        self.tell(Membership::Out);
        let node = self.scene.node(self.pod.node()).unwrap();
        until("the pod is not enrolled", || {
            ensure!(!enrolled(node, self.pod.sandbox())?, "it is");
            Ok(())
        })
        .unwrap();
    }

    /// Access lines about the pod on its own node since the log had this size.
    fn served(&self, mark: u64) -> usize {
        let node = self.scene.node(self.pod.node()).unwrap();
        let log = node.agent_log_since(mark).unwrap();
        let ip = self.pod.ips()[0].to_string();
        let about = access_lines(&log);
        let ours = about.iter().filter(|line| {
            let ends = ["src.addr", "dst.addr"].map(|end| line.field(end));
            ends.iter().any(|end| end.starts_with(&format!("{ip}:")))
        });
        ours.count()
    }

    /// In and out again; what connections from before saw, and those from between.
    fn go(&mut self, from: &Pod, to: &Pod) -> [Figures; 2] {
        let to = to.address(false, PORT).unwrap();
        let slowly = Shape {
            rate: 100,
            ..Shape::default()
        };
        let start = |shape| Load::start(from, to, MARKER, shape).unwrap();
        let before = start(Shape::default());
        thread::sleep(WHILE / 2);
        let node = self.scene.node(self.pod.node()).unwrap();
        let mark = node.agent_log_size().unwrap();
        self.come_in();
        let between = start(slowly);
        thread::sleep(WHILE);
        until("the pod is served", || {
            let served = self.served(mark);
            ensure!(served > SOME, "only {served} of its connections");
            Ok(())
        })
        .unwrap();
        self.leave();
        thread::sleep(WHILE);
        let reports = [before, between].map(|load| load.stop().unwrap());
        self.nothing_is_left();
        reports.map(|report| Figures::new(&report, &[], 0))
    }

    /// Once captured connections have ended, nothing is in the pod.
    fn nothing_is_left(&self) {
        let look = || -> Result<()> {
            let (rules, listen) = (our_rules(self.pod.netns())?, listeners(self.pod.netns())?);
            ensure!(
                rules.is_empty() && listen.is_empty(),
                "{rules:?} {listen:?}"
            );
            Ok(())
        };
        until("nothing is left in the pod", look).unwrap();
    }
}

/// A scene with a pod outside the mesh on a node.
fn scene_with(node: &str, spec: PodSpec) -> (Scene, Pod) {
    let settings = serde_json::from_value(json!({"leaveDeadline": "30s"})).unwrap();
    let mut scene = Scene::set(&settings, &[]).unwrap();
    let pod = scene.lab.run_pods(&[(node, spec)]).unwrap().remove(0);
    scene.mesh.workload(&pod, &pod.spec().name, "TCP", &[]);
    scene.lab.publish_mesh(&scene.mesh).unwrap();
    (scene, pod)
}

fn judge(what: &str, mut cycle: Cycle<'_>, from: &Pod, to: &Pod) {
    let whens = ["before", "between"];
    let mut series = whens.map(|when| Series::new(&format!("{what}: connections from {when}")));
    for _ in 0..REPETITIONS {
        for (series, figures) in series.iter_mut().zip(cycle.go(from, to)) {
            series.add(figures);
        }
    }
    for series in &series {
        println!("{}", series.table());
    }
    for series in series {
        series.verdict(New::All, Long::Kept).unwrap();
    }
}

#[test]
fn a_client_comes_in_and_leaves() {
    let (mut scene, client) = scene_with("a", PodSpec::idle(PLAIN, "guest"));
    let server = scene.servers[0].clone();
    let cycle = Cycle {
        scene: &mut scene,
        pod: &client,
        others: Others::Plainly,
    };
    judge("client enrolled and un-enrolled", cycle, &client, &server);
    scene.lab.down().unwrap();
}

#[test]
fn a_server_comes_in_and_leaves_while_clients_outside_call_it() {
    let (mut scene, server) = scene_with("b", PodSpec::server(PLAIN, "late", &[("echo", PORT)]));
    let outside = PodSpec::idle(PLAIN, "outside");
    let client = scene.lab.run_pods(&[("a", outside)]).unwrap().remove(0);
    let cycle = Cycle {
        scene: &mut scene,
        pod: &server,
        others: Others::Plainly,
    };
    judge("server, client outside", cycle, &client, &server);
    scene.lab.down().unwrap();
}

#[test]
fn a_server_comes_in_and_leaves_while_clients_in_the_mesh_call_it() {
    let (mut scene, server) = scene_with("b", PodSpec::server(PLAIN, "late", &[("echo", PORT)]));
    let client = scene.client.clone();
    let cycle = Cycle {
        scene: &mut scene,
        pod: &server,
        others: Others::ByTunnel,
    };
    judge("server, client in the mesh", cycle, &client, &server);
    scene.lab.down().unwrap();
}
