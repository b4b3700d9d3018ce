#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::IpAddr;
use std::sync::Arc;

use crate::{
    Action, Health, Identity, Interner, NetworkAddress, NetworkMode, NextHop, Policy, PolicyKey,
    PolicyRules, PortMap, Protocol, Scope, Service, ServiceKey, ServicePorts, SnapshotBuilder,
    Visibility, Workload,
};

fn identity(account: &str) -> Identity {
    Identity::new("td", "ns", account).unwrap()
}

fn workload(uid: &str, ips: &[&str]) -> Workload {
    let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
    Workload::new(uid, uid, identity("sa"), ips)
}

fn vip(ip: &str) -> NetworkAddress {
    NetworkAddress {
        network: "".into(),
        ip: ip.parse().unwrap(),
    }
}

#[test]
fn identities() {
    let check = |text: &str, parts: Option<(&str, &str, &str)>| {
        let read: Option<Identity> = text.parse().ok();
        let read_parts = read.as_ref().map(|id| {
            assert_eq!(id.to_string(), text);
            assert_eq!(id.principal(), text.strip_prefix("spiffe://").unwrap());
            (id.trust_domain(), id.namespace(), id.service_account())
        });
        assert_eq!(read_parts, parts, "{text}");
    };
    check(
        "spiffe://cluster.local/ns/a-b/sa/c.d_e",
        Some(("cluster.local", "a-b", "c.d_e")),
    );
    check("spiffe://td/ns/ns/sa/sa", Some(("td", "ns", "sa")));
    for wrong in [
        "",
        "td/ns/a/sa/b",
        "http://td/ns/a/sa/b",
        "SPIFFE://td/ns/a/sa/b",
        "spiffe://td/ns/a/sa/",
        "spiffe:///ns/a/sa/b",
        "spiffe://td/ns//sa/b",
        "spiffe://td/ns/a/sa/b/",
        "spiffe://td/ns/a/sa/b/c",
        "spiffe://td/sa/b/ns/a",
        "spiffe://td/ns/a/sa/b?q",
        "spiffe://td/ns/a/sa/b%2fc",
        "spiffe://td/ns/../sa/b",
        "spiffe://td:1/ns/a/sa/b",
        "spiffe://user@td/ns/a/sa/b",
        " spiffe://td/ns/a/sa/b",
        "spiffe://td/ns/a/sa/b\n",
        "spiffe://td/ns/a/sa/ä",
    ] {
        check(wrong, None);
    }
    check(&format!("spiffe://td/ns/{}/sa/b", "n".repeat(254)), None);
    assert!(Identity::new("td", "a/sa/b", "c").is_err());
}

#[test]
fn addresses_are_canonical() {
    let mapped: std::net::SocketAddr = "[::ffff:10.0.0.1]:80".parse().unwrap();
    assert_eq!(NextHop::new(mapped).to_string(), "10.0.0.1:80");
}

#[test]
fn interner_shares() {
    let mut interner = Interner::default();
    assert!(Arc::ptr_eq(&interner.text("a"), &interner.text("a")));
    let [a, _, again] = ["x", "y", "x"].map(|sa| interner.identity("td", "ns", sa).unwrap());
    assert_eq!(a.as_str().as_ptr(), again.as_str().as_ptr());
    let serving = |target| {
        let ports = PortMap::new([(80, target)]);
        ServicePorts::new([(ServiceKey::new("ns", "web"), ports)])
    };
    let [one, other, same] = [1, 2, 1].map(|target| interner.services(serving(target)));
    assert!(one == same && one != other);
    assert_eq!(interner.len(), 5);
    drop((one, same, again));
    interner.forget_unused();
    assert_eq!(interner.len(), 2, "what is in use is kept");
    assert_eq!(interner.services(serving(2)), other);
    assert_eq!(interner.identity("td", "ns", "x"), Ok(a));
    assert_eq!(interner.len(), 2);
}

#[test]
fn owner_of_an_address() {
    // (uid, HBONE, host network) of those who claim it, who owns it.
    let check = |claims: &[(&str, bool, bool)], owner: Option<&str>| {
        for reversed in [false, true] {
            let mut claims = claims.to_vec();
            if reversed {
                claims.reverse();
            }
            let mut builder = SnapshotBuilder::default();
            for (uid, hbone, host) in claims {
                let mut claimant = workload(uid, &["10.0.0.1"]);
                claimant.protocol = if hbone {
                    Protocol::Hbone
                } else {
                    Protocol::Tcp
                };
                claimant.network_mode = if host {
                    NetworkMode::HostNetwork
                } else {
                    NetworkMode::Standard
                };
                builder.add_workload(claimant);
            }
            let snapshot = builder.build(1);
            let found = snapshot.workload_by_ip("", "::ffff:10.0.0.1".parse().unwrap());
            assert_eq!(found.map(|w| &*w.uid), owner);
            assert!(
                snapshot
                    .workload_by_ip("other", "10.0.0.1".parse().unwrap())
                    .is_none()
            );
        }
    };
    check(&[], None);
    check(&[("a", false, false)], Some("a"));
    check(&[("a", false, true)], None);
    check(
        &[("c//Pod/a", false, false), ("b", true, false)],
        Some("c//Pod/a"),
    );
    check(
        &[("c//Pod/a", false, false), ("c//Pod/b", true, false)],
        Some("c//Pod/b"),
    );
    check(&[("a", false, false), ("b", true, false)], Some("b"));
    check(&[("a", true, false), ("b", true, false)], Some("a"));
    check(&[("a", false, false), ("c//Pod/b", true, true)], Some("a"));
}

#[test]
fn later_replaces_earlier() {
    let mut builder = SnapshotBuilder::default();
    builder
        .add_workload(workload("a", &["10.0.0.1"]))
        .add_workload(workload("b", &[]));
    builder.add_workload(workload("a", &["10.0.0.2"]));
    let snapshot = builder.build(7);
    assert_eq!(snapshot.version(), 7);
    assert_eq!(snapshot.workloads().count(), 2);
    assert!(
        snapshot
            .workload_by_ip("", "10.0.0.1".parse().unwrap())
            .is_none()
    );
    assert_eq!(snapshot.workload_by_uid("a").unwrap().ips.len(), 1);
}

#[test]
fn workload_by_name() {
    let mut builder = SnapshotBuilder::default();
    let named = |uid: &str, account: &str, protocol| {
        let mut made = Workload::new(uid, "name", identity(account), Vec::new());
        made.protocol = protocol;
        made
    };
    builder.add_workload(named("tcp", "sa", Protocol::Tcp));
    builder.add_workload(named("hbone", "sa", Protocol::Hbone));
    builder.add_workload(named("other", "sb", Protocol::Tcp));
    let snapshot = builder.build(1);
    let check = |ns, name, account, uid: Option<&str>| {
        assert_eq!(
            snapshot
                .workload_by_name(ns, name, account)
                .map(|w| &*w.uid),
            uid
        );
    };
    check("ns", "name", "sa", Some("hbone"));
    check("ns", "name", "sb", Some("other"));
    check("ns", "name", "sc", None);
    check("ns", "eman", "sa", None);
    check("sn", "name", "sa", None);
}

/// Services as (namespace, canonical, own namespace only, address or block).
fn check_vips(services: &[(&str, bool, bool, &str)], ip: &str, client: &str, found: Option<usize>) {
    let mut builder = SnapshotBuilder::default();
    for (index, (namespace, canonical, hidden, address)) in services.iter().enumerate() {
        let mut service = Service::new(&index.to_string(), namespace, &format!("h{index}"));
        service.canonical = *canonical;
        service.visibility = if *hidden {
            Visibility::Namespace
        } else {
            Visibility::Public
        };
        if address.contains('/') {
            service
                .cidr_vips
                .push(("".into(), address.parse().unwrap()));
        } else {
            service.vips.push(vip(address));
        }
        builder.add_service(service);
    }
    let snapshot = builder.build(1);
    let service = snapshot.service_by_vip("", ip.parse().unwrap(), client);
    assert_eq!(
        service.map(|s| s.name.parse().unwrap()),
        found,
        "{ip} for {client}: {services:?}"
    );
}

#[test]
fn service_by_vip() {
    let (public, hidden, canonical) = (false, true, true);
    let a = "10.0.0.1";
    check_vips(&[], a, "x", None);
    check_vips(&[("x", false, public, a)], "10.0.0.2", "x", None);
    check_vips(
        &[("y", false, public, a), ("z", false, public, a)],
        a,
        "x",
        Some(0),
    );
    check_vips(
        &[("y", false, public, a), ("z", canonical, public, a)],
        a,
        "x",
        Some(1),
    );
    check_vips(
        &[("y", canonical, public, a), ("x", false, public, a)],
        a,
        "x",
        Some(1),
    );
    check_vips(
        &[("y", canonical, hidden, a), ("z", false, public, a)],
        a,
        "x",
        Some(1),
    );
    check_vips(&[("y", false, hidden, a)], a, "x", None);
    check_vips(&[("y", false, hidden, a)], a, "y", Some(0));
    // A hidden exact address leaves it to a block; a seen one does not.
    let block = ("z", false, public, "10.0.0.0/24");
    check_vips(&[("y", false, hidden, a), block], a, "x", Some(1));
    check_vips(&[("y", false, public, a), block], a, "z", Some(0));
    // Own namespace before length, length before canonical, canonical before first.
    let wide = ("x", false, public, "10.0.0.0/8");
    check_vips(&[block, wide], a, "x", Some(1));
    check_vips(&[block, wide], a, "y", Some(0));
    check_vips(
        &[wide, ("z", canonical, public, "10.0.0.0/16"), block],
        a,
        "y",
        Some(2),
    );
    check_vips(
        &[block, ("y", canonical, public, "10.0.0.0/24")],
        a,
        "w",
        Some(1),
    );
    check_vips(
        &[block, ("y", false, hidden, "10.0.0.0/30")],
        a,
        "w",
        Some(0),
    );
    check_vips(&[block], "10.0.1.1", "x", None);
    check_vips(
        &[("y", false, public, "fd00::/64")],
        "fd00::1",
        "x",
        Some(0),
    );
    check_vips(&[("y", false, public, "fd00::/64")], "fd01::1", "x", None);
    check_vips(&[("y", false, public, "::/0")], a, "x", None);
    // A block written with host bits is the block.
    check_vips(&[("y", false, public, "10.0.0.77/24")], a, "x", Some(0));
}

#[test]
fn service_by_host() {
    let mut builder = SnapshotBuilder::default();
    for (name, namespace, canonical) in [("0", "a", false), ("1", "b", true), ("2", "c", false)] {
        let mut service = Service::new(name, namespace, "Web.Example");
        service.canonical = canonical;
        builder.add_service(service);
    }
    let snapshot = builder.build(1);
    let check = |host, client, name: Option<&str>| {
        assert_eq!(
            snapshot.service_by_host(host, client).map(|s| &*s.name),
            name
        );
    };
    check("web.example", "c", Some("2"));
    check("WEB.example", "x", Some("1"));
    check("web.other", "a", None);
}

#[test]
fn endpoints_keep_the_unhealthy_and_follow_both_layers() {
    let key = ServiceKey::new("ns", "web");
    let serving = |uid: &str| {
        let mut made = workload(uid, &[]);
        made.services = ServicePorts::new([(key.clone(), PortMap::new([(80, 8080), (443, 8443)]))]);
        made
    };
    let mut sick = serving("sick");
    sick.health = Health::Unhealthy;
    let mut builder = SnapshotBuilder::default();
    builder
        .add_workload(serving("well"))
        .add_workload(sick)
        .add_workload(workload("none", &[]));
    let snapshot = builder.build(1).with_local(2, [Arc::new(serving("local"))]);
    let uids: Vec<_> = snapshot
        .endpoints(&key)
        .map(|e| e.workload.uid.to_string())
        .collect();
    assert_eq!(uids, ["well", "sick", "local"]);
    let first = snapshot.endpoints(&key).next().unwrap();
    assert_eq!(
        [80, 443, 81].map(|p| first.ports.target(p)),
        [Some(8080), Some(8443), None]
    );
    assert_eq!(
        snapshot.endpoints(&ServiceKey::new("ns", "other")).count(),
        0
    );
}

#[test]
fn policies_of_a_workload() {
    let policy = |namespace: &str, name: &str, scope| Policy {
        name: name.into(),
        namespace: namespace.into(),
        scope,
        action: Action::Deny,
        rules: PolicyRules::Valid(Vec::new()),
        dry_run: false,
    };
    let mut builder = SnapshotBuilder::default();
    builder
        .add_policy(policy("root", "global", Scope::Global))
        .add_policy(policy("ns", "here", Scope::Namespace))
        .add_policy(policy("elsewhere", "there", Scope::Namespace))
        .add_policy(policy("ns", "named", Scope::WorkloadSelector))
        .add_policy(policy("ns", "unnamed", Scope::WorkloadSelector));
    let snapshot = builder.build(1);
    let mut own = workload("own", &[]);
    own.authorization_policies = vec![PolicyKey::new("ns", "named"), PolicyKey::new("ns", "lost")];
    let found: Vec<_> = snapshot
        .policies_for(&own)
        .map(|found| {
            found
                .map(|p| p.key().to_string())
                .map_err(ToString::to_string)
        })
        .collect();
    let ok = |name: &str| Ok(name.to_owned());
    let expected = [
        ok("root/global"),
        ok("ns/here"),
        ok("ns/named"),
        Err("ns/lost".to_owned()),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_host_network_workload_owns_no_address_of_a_local_one() {
    let mut host = workload("host", &["10.0.0.1"]);
    host.network_mode = NetworkMode::HostNetwork;
    let mut builder = SnapshotBuilder::default();
    builder.add_workload(host);
    let snapshot = builder
        .build(1)
        .with_local(2, [Arc::new(workload("local", &["10.0.0.1"]))]);
    let ip: IpAddr = "10.0.0.1".parse().unwrap();
    assert_eq!(&*snapshot.workload_by_ip("", ip).unwrap().uid, "local");
}

#[test]
fn what_only_this_node_says_is_not_discovered() {
    let mut builder = SnapshotBuilder::default();
    builder.add_workload(workload("mesh", &["10.0.0.1"]));
    let local = ["mesh", "local"].map(|uid| Arc::new(workload(uid, &["10.0.0.2"])));
    let snapshot = builder.build(1).with_local(2, local);
    assert!(snapshot.workload_by_uid("local").is_some());
    let discovered = ["mesh", "local", "none"].map(|uid| snapshot.is_discovered(uid));
    assert_eq!(discovered, [true, false, false]);
}

#[test]
fn discovery_knows_a_pod_by_its_uid_or_by_name_account_and_address() {
    let known = |local: Workload| {
        let mut named = workload("mesh", &["10.0.0.1"]);
        named.name = "pod".into();
        let mut builder = SnapshotBuilder::default();
        builder.add_workload(named);
        let snapshot = builder.build(1).with_local(2, [Arc::new(local)]);
        let account = snapshot.workload_by_uid("mesh").unwrap().service_account();
        let own = snapshot.workload_by_name("ns", "pod", account).unwrap();
        let there = snapshot
            .workload_by_ip("", "10.0.0.1".parse().unwrap())
            .unwrap();
        (own.uid.to_string(), there.uid.to_string())
    };
    let local = |uid: &str, name: &str, ips: &[&str]| Workload {
        name: name.into(),
        ..workload(uid, ips)
    };
    let both = |own: &str, there: &str| (own.to_owned(), there.to_owned());
    let moved = known(local("mesh", "pod", &["10.0.0.2"]));
    assert_eq!(moved, both("mesh", "mesh"), "the same uid");
    let renumbered = known(local("local", "pod", &["10.0.0.1", "fd00::1"]));
    assert_eq!(renumbered, both("mesh", "mesh"), "the same pod");
    let recycled = known(local("local", "new", &["10.0.0.1"]));
    assert_eq!(recycled, both("mesh", "local"), "a pod of the past");
    let namesake = known(local("local", "pod", &["10.0.0.2"]));
    assert_eq!(namesake, both("local", "mesh"), "a pod of another cluster");
}
