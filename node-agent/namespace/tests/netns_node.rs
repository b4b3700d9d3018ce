//! The chain in the node's own namespace, for which a namespace of the test's stands. Needs root.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::time::{Duration, Instant};

use node_agent_namespace::{Exempted, Netns, Wanted, enter, exempt};
use node_agent_redirect::{Backend, Exemption};

/// A node whose `/proc` is seen elsewhere.
struct Node {
    ns: Netns,
    proc: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let ns = Netns::create().unwrap();
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(proc.path().join("1/ns")).unwrap();
        // Where the legacy tools find the lock of the node's.
        std::fs::create_dir_all(proc.path().join("1/root/run")).unwrap();
        let descriptor = format!("/proc/{}/fd/{}", std::process::id(), ns.as_fd().as_raw_fd());
        std::os::unix::fs::symlink(descriptor, proc.path().join("1/ns/net")).unwrap();
        Self { ns, proc }
    }

    fn run(&self, line: &str) -> String {
        let output = enter(&self.ns, || {
            Command::new("sh").args(["-c", line]).output().unwrap()
        })
        .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn rules(&self) -> String {
        self.run(
            "iptables-nft-save; ip6tables-nft-save; iptables-legacy-save; ip6tables-legacy-save",
        )
    }

    fn exempt(&self, exemption: &Exemption, before: Option<&Exemption>) -> Exempted {
        self.exempt_in(None, exemption, before)
    }

    fn exempt_in(
        &self,
        backend: Option<Backend>,
        exemption: &Exemption,
        before: Option<&Exemption>,
    ) -> Exempted {
        let wanted = Wanted {
            exemption,
            before,
            backend,
            otherwise: Backend::Nft,
        };
        exempt(
            self.proc.path(),
            &wanted,
            Instant::now() + Duration::from_secs(20),
        )
        .unwrap()
    }
}

fn exemption(addresses: &[&str]) -> Exemption {
    let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap());
    addresses.collect()
}

#[test]
fn without_pods_not_even_a_table_is_left() {
    let node = Node::new();
    let none = Exemption::default();
    node.exempt(&none, Some(&none));
    assert_eq!(node.run("nft list ruleset"), "");
    assert_eq!(node.run("cat /proc/thread-self/net/ip_tables_names"), "");
    let one = exemption(&["10.0.0.7"]);
    node.exempt(&one, None);
    let done = node.exempt(&none, Some(&one));
    assert_eq!(
        (done.backend, done.changed.len()),
        (Backend::Nft, 0),
        "{done:?}"
    );
    assert!(!node.rules().contains("ISTIO"), "{}", node.rules());
}

#[test]
fn rules_go_where_the_nodes_are_and_legacy_ones_are_found() {
    for (family, tool) in [("10.0.0.7", "iptables"), ("fd00::7", "ip6tables")] {
        for (named, backend) in [("nft", Backend::Nft), ("legacy", Backend::Legacy)] {
            let node = Node::new();
            node.run(&format!(
                "{tool}-{named} -t nat -A POSTROUTING -o eth9 -j MASQUERADE"
            ));
            let done = node.exempt(&exemption(&[family]), None);
            assert_eq!(done.backend, backend);
            let rules = node.run(&format!("{tool}-{named}-save -t nat"));
            assert!(rules.contains("--socket-exists -j SNAT"), "{rules}");
            let hooks: Vec<&str> = rules
                .lines()
                .filter(|line| line.starts_with("-A POSTROUTING"))
                .collect();
            assert_eq!(
                hooks,
                [
                    "-A POSTROUTING -j ISTIO_POSTRT",
                    "-A POSTROUTING -o eth9 -j MASQUERADE"
                ]
            );
        }
    }
}

#[test]
fn what_was_changed_is_told_and_put_right_in_both_backends() {
    for (backend, named) in [(Backend::Nft, "nft"), (Backend::Legacy, "legacy")] {
        let node = Node::new();
        let two = exemption(&["10.0.0.7", "10.0.0.8", "fd00::7"]);
        let bring = |before| node.exempt_in(Some(backend), &two, before).changed;
        assert!(bring(None).is_empty());
        let whole = node.rules();
        for (change, told) in [
            (
                format!("iptables-{named} -t nat -F"),
                "does not lead to ISTIO_POSTRT",
            ),
            (
                format!("iptables-{named} -t nat -D ISTIO_POSTRT 1"),
                "rule 1",
            ),
            (
                format!(
                    "ip6tables-{named} -t nat -I POSTROUTING -j ACCEPT; ip6tables-{named} -t nat -D POSTROUTING 2"
                ),
                "IPv6 nat: POSTROUTING does not lead",
            ),
            (
                format!("iptables-{named} -t nat -I POSTROUTING -p tcp -j RETURN"),
                "only after `-p tcp -j RETURN`",
            ),
            (
                format!("iptables-{named} -t nat -A POSTROUTING -j ISTIO_POSTRT"),
                "unexpected jump",
            ),
        ] {
            node.run(&change);
            let changed = bring(Some(&two));
            let text: Vec<String> = changed.iter().map(ToString::to_string).collect();
            assert!(
                text.iter().any(|one| one.contains(told)),
                "{change}: {text:?}"
            );
            assert!(bring(Some(&two)).is_empty(), "{change}: not put right");
        }
        let ours = |rules: &str| rules.lines().filter(|line| line.contains("ISTIO")).count();
        assert_eq!(ours(&node.rules()), ours(&whole), "{}", node.rules());
    }
}

#[test]
fn a_chain_in_the_other_backend_is_moved() {
    let node = Node::new();
    let one = exemption(&["10.0.0.7"]);
    node.exempt_in(Some(Backend::Legacy), &one, None);
    // Found where it is.
    assert_eq!(node.exempt(&one, Some(&one)).backend, Backend::Legacy);
    let moved = node.exempt_in(Some(Backend::Nft), &one, Some(&one));
    let text: Vec<String> = moved.changed.iter().map(ToString::to_string).collect();
    assert!(
        text.iter().any(|one| one.contains("legacy backend")),
        "{text:?}"
    );
    let legacy = node.run("iptables-legacy-save");
    assert!(!legacy.contains("ISTIO"), "{legacy}");
    assert!(node.run("iptables-nft-save").contains("SNAT"));
}

#[test]
fn a_change_of_ours_is_written_without_a_look_and_the_next_look_finds_what_is_wrong() {
    for backend in [Backend::Nft, Backend::Legacy] {
        let node = Node::new();
        let none = Exemption::default();
        let sets = [
            exemption(&["10.0.0.7"]),
            exemption(&["10.0.0.7", "fd00::7"]),
            exemption(&["10.0.0.8", "fd00::7", "fd00::8"]),
            exemption(&["fd00::8"]),
            none.clone(),
        ];
        let bring = |goal: &Exemption, before| node.exempt_in(Some(backend), goal, before).changed;
        bring(&none, None);
        let mut before = &none;
        for goal in &sets {
            assert!(bring(goal, Some(before)).is_empty());
            let looked = bring(goal, Some(goal));
            assert!(looked.is_empty(), "{goal:?} after {before:?}: {looked:?}");
            before = goal;
        }
        assert!(!node.rules().contains("ISTIO"), "{}", node.rules());
    }
}

#[test]
fn what_the_kernel_refuses_is_written_after_a_look() {
    for (backend, named) in [(Backend::Nft, "nft"), (Backend::Legacy, "legacy")] {
        let node = Node::new();
        let (none, one) = (Exemption::default(), exemption(&["10.0.0.7"]));
        node.exempt_in(Some(backend), &one, None);
        // The jump that would be taken out is not there, and so the transaction fails.
        node.run(&format!("iptables-{named} -t nat -F POSTROUTING"));
        node.exempt_in(Some(backend), &none, Some(&one));
        assert!(!node.rules().contains("ISTIO"), "{}", node.rules());
    }
}
