//! Finding where pods run, in real namespaces behind a `/proc` made up for the test. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    reason = "tests"
)]

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use node_agent_namespace::{Found, Netns, NotFound, Sought, Whereabouts, enter, locate};

const UID: &str = "6d5b1d4f-0a3c-4b2e-9f10-aabbccddeeff";
const OTHER: &str = "00000000-0a3c-4b2e-9f10-aabbccddeeff";

/// A namespace with an address.
fn pod(address: &str) -> Netns {
    let ns = Netns::create().unwrap();
    let script = format!(
        "ip link add d0 type veth peer name d1 && ip link set d0 up && ip link set d1 up && \
         ip addr add {address}/24 dev d0"
    );
    enter(&ns, || {
        assert!(
            Command::new("sh")
                .args(["-ec", &script])
                .status()
                .unwrap()
                .success()
        );
    })
    .unwrap();
    ns
}

struct Node(tempfile::TempDir);

impl Node {
    /// A node whose first process is in our own namespace, as the node's are.
    fn new() -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        fs::create_dir(node.path("names")).unwrap();
        node.process(1, "/init.scope", "init", 0, "/proc/self/ns/net".into());
        node
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn process(&self, pid: u32, cgroup: &str, command: &str, started: u64, netns: PathBuf) {
        let directory = self.path("proc").join(pid.to_string());
        fs::create_dir_all(directory.join("ns")).unwrap();
        fs::write(directory.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        let zeros = "0 ".repeat(18);
        let stat = format!("{pid} ({command}) S {zeros}{started} 0\n");
        fs::write(directory.join("stat"), stat).unwrap();
        symlink(netns, directory.join("ns/net")).unwrap();
    }

    fn container(&self, pid: u32, uid: &str, id: &str, command: &str, ns: &Netns) {
        let cgroup = format!("/kubepods/pod{uid}/{id}");
        self.process(pid, &cgroup, command, u64::from(pid), fd(ns));
    }

    fn name(&self, name: &str, ns: &Netns) {
        symlink(fd(ns), self.path("names").join(name)).unwrap();
    }

    fn find(&self, address: &str, containers: &[String]) -> Result<Found, NotFound> {
        let address: IpAddr = address.parse().unwrap();
        let sought = [Sought {
            uid: UID,
            addresses: &[address],
            containers,
        }];
        let places = Whereabouts {
            proc: self.path("proc"),
            names: vec![self.path("names"), "/nowhere".into()],
        };
        let until = Instant::now() + Duration::from_secs(60);
        locate(&places, &sought, until).unwrap().pop().unwrap()
    }
}

fn fd(ns: &Netns) -> PathBuf {
    format!("/proc/{}/fd/{}", std::process::id(), ns.as_fd().as_raw_fd()).into()
}

fn id(letter: &str) -> String {
    letter.repeat(64)
}

#[test]
fn a_pod_is_found_under_the_runtimes_name_and_with_its_sandbox() {
    let (node, ns) = (Node::new(), pod("10.7.0.2"));
    let (sandbox, app) = (id("a"), id("b"));
    node.container(20, UID, &sandbox, "pause", &ns);
    node.container(21, UID, &app, "app", &ns);
    let known = [app];
    // Without a name, by the process that lasts as long.
    let found = node.find("10.7.0.2", &known).unwrap();
    assert_eq!(found.netns, node.path("proc/20/ns/net"));
    assert_eq!(found.sandbox.as_deref(), Some(sandbox.as_str()));
    node.name("cni-1", &ns);
    let found = node.find("10.7.0.2", &known).unwrap();
    assert_eq!(found.netns, node.path("names/cni-1"));
}

#[test]
fn a_namespace_without_the_pods_address_is_not_the_pods() {
    let (node, ns, visited) = (Node::new(), pod("10.7.0.2"), pod("10.7.0.3"));
    // A process of the pod that visits another pod, and is older.
    node.container(19, UID, &id("b"), "nsenter", &visited);
    node.container(20, UID, &id("a"), "pause", &ns);
    node.container(30, OTHER, &id("c"), "pause", &visited);
    node.name("cni-1", &ns);
    node.name("cni-2", &visited);
    let found = node.find("10.7.0.2", &[]).unwrap();
    assert_eq!(found.netns, node.path("names/cni-1"));
    assert_eq!(found.sandbox, None, "the oldest is no sandbox's");
    assert!(matches!(
        node.find("10.7.0.9", &[]),
        Err(NotFound::NoNamespace)
    ));
}

#[test]
fn the_nodes_own_namespace_is_never_a_pods() {
    let node = Node::new();
    let own = PathBuf::from("/proc/self/ns/net");
    node.process(
        20,
        &format!("/kubepods/pod{UID}/{}", id("a")),
        "pause",
        5,
        own,
    );
    assert!(matches!(
        node.find("127.0.0.1", &[]),
        Err(NotFound::NoProcess)
    ));
}

#[test]
fn without_a_name_that_lasts_nothing_is_promised() {
    let (node, ns) = (Node::new(), pod("10.7.0.2"));
    // No sandbox's process: this one may end while the pod goes on.
    node.container(21, UID, &id("b"), "app", &ns);
    assert!(matches!(node.find("10.7.0.2", &[]), Err(NotFound::NoName)));
    node.name("cni-1", &ns);
    assert!(node.find("10.7.0.2", &[]).is_ok());
    assert!(node.find("10.7.0.2", &[]).unwrap().sandbox.is_none());
}

#[test]
fn processes_of_others_are_of_no_interest() {
    let (node, ns) = (Node::new(), pod("10.7.0.2"));
    node.container(20, OTHER, &id("a"), "pause", &ns);
    node.process(21, "/system.slice/x.service", "x", 5, fd(&ns));
    assert!(matches!(
        node.find("10.7.0.2", &[]),
        Err(NotFound::NoProcess)
    ));
}
