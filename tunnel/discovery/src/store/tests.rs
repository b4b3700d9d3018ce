#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::IpAddr;

use tunnel_model::{Identity, MeshChanges, MeshState, PodUid, Workload};

use super::MeshStore;

fn workload(uid: &str, account: &str, ips: &[&str]) -> Workload {
    let identity = Identity::new("td", "ns", account).unwrap();
    Workload::new(
        uid,
        uid,
        identity,
        ips.iter().map(|ip| ip.parse().unwrap()).collect(),
    )
}

fn state(workloads: Vec<Workload>) -> MeshState {
    let workloads = workloads.into_iter().map(Into::into).collect();
    MeshState {
        workloads,
        ..MeshState::default()
    }
}

/// The account of whoever owns each address, `-` for nobody.
fn check(store: &MeshStore, owners: &[(&str, &str)]) {
    let snapshot = store.reader().load();
    for (ip, account) in owners {
        let ip: IpAddr = ip.parse().unwrap();
        let owner = snapshot
            .workload_by_ip("", ip)
            .map_or("-", |w| w.service_account());
        assert_eq!(owner, *account, "owner of {ip}");
    }
}

#[test]
fn discovery_replaces_local_by_uid() {
    let store = MeshStore::new();
    store.upsert_local(PodUid::from("p"), workload("p", "local", &["10.0.0.1"]));
    check(&store, &[("10.0.0.1", "local")]);
    store.set_state(state(vec![workload("p", "mesh", &["10.0.0.2"])]));
    check(&store, &[("10.0.0.1", "-"), ("10.0.0.2", "mesh")]);
}

#[test]
fn changes_are_made_to_what_discovery_says_and_keep_the_local() {
    let store = MeshStore::new();
    store.upsert_local(PodUid::from("p"), workload("p", "local", &["10.0.0.9"]));
    store.set_state(state(vec![
        workload("a", "one", &["10.0.0.1"]),
        workload("b", "two", &["10.0.0.2"]),
    ]));
    let before = store.reader().load();
    let version = store.change(MeshChanges {
        gone: vec!["a".into()],
        workloads: vec![workload("b", "three", &["10.0.0.3"]).into()],
        ..MeshChanges::default()
    });
    assert_eq!(version, before.version() + 1);
    let owners = [
        ("10.0.0.1", "-"),
        ("10.0.0.2", "-"),
        ("10.0.0.3", "three"),
        ("10.0.0.9", "local"),
    ];
    check(&store, &owners);
    assert_eq!(before.workloads().count(), 3, "who reads it sees no change");
}

#[test]
fn an_address_belongs_to_the_pod_that_has_it_now() {
    let store = MeshStore::new();
    store.set_state(state(vec![workload(
        "m",
        "gone",
        &["10.0.0.1", "10.0.0.2"],
    )]));
    store.upsert_local(
        PodUid::from("p"),
        workload("p", "local", &["10.0.0.1", "fd00::1"]),
    );
    let owners = [
        ("10.0.0.1", "local"),
        ("10.0.0.2", "gone"),
        ("fd00::1", "local"),
    ];
    check(&store, &owners);
    store.remove_local(&PodUid::from("p"));
    check(&store, &[("10.0.0.1", "gone"), ("fd00::1", "-")]);
}

#[test]
fn local_workloads_outlive_a_new_state_until_it_names_them() {
    let store = MeshStore::new();
    store.upsert_local(PodUid::from("p"), workload("p", "local", &["10.0.0.1"]));
    store.set_state(state(vec![workload("m", "mesh", &["10.0.0.1"])]));
    check(&store, &[("10.0.0.1", "local")]);
    store.set_state(state(vec![workload("p", "named", &["10.0.0.1"])]));
    check(&store, &[("10.0.0.1", "named")]);
    store.set_state(state(vec![workload("n", "other", &["10.0.0.9"])]));
    check(&store, &[("10.0.0.1", "local"), ("10.0.0.9", "other")]);
    store.remove_local(&PodUid::from("p"));
    check(&store, &[("10.0.0.1", "-"), ("10.0.0.9", "other")]);
}

#[test]
fn versions_count_changes_and_nothing_else() {
    let store = MeshStore::new();
    let changes = store.reader().changes();
    assert_eq!(store.reader().load().version(), 0);
    assert_eq!(store.remove_local(&PodUid::from("unknown")), 0);
    assert_eq!(
        store.upsert_local(PodUid::from("p"), workload("p", "a", &[])),
        1
    );
    assert_eq!(store.set_state(MeshState::default()), 2);
    assert_eq!(store.remove_local(&PodUid::from("p")), 3);
    assert_eq!(*changes.borrow(), 3);
    assert_eq!(store.reader().load().version(), 3);
}

#[test]
fn a_reader_keeps_the_snapshot_it_loaded() {
    let store = MeshStore::new();
    store.set_state(state(vec![workload("m", "mesh", &["10.0.0.1"])]));
    let before = store.reader().load();
    store.set_state(MeshState::default());
    assert!(before.workload_by_uid("m").is_some());
    assert!(store.reader().load().workload_by_uid("m").is_none());
}

#[test]
fn a_reader_is_never_the_last_to_let_go() {
    let store = MeshStore::new();
    let one = std::sync::Arc::new(workload("m", "mesh", &[]));
    let watched = std::sync::Arc::downgrade(&one);
    store.set_state(MeshState {
        workloads: vec![one],
        ..MeshState::default()
    });
    let reading = store.reader().load();
    store.set_state(MeshState::default());
    store.tidy();
    assert!(reading.workload_by_uid("m").is_some());
    drop(reading);
    assert!(watched.upgrade().is_some(), "left for whoever has the time");
    store.tidy();
    assert!(watched.upgrade().is_none());
}
