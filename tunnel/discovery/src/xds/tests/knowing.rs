use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use prost::bytes::Bytes;
use tunnel_model::{Policy, PolicyRules};

use super::{ResourceType, policy, removal, resource, response, service, spoiled, workload};
use crate::xds::known::{Extent, Known};
use crate::xds::proto::workload as proto;
use crate::xds::proto::{DeltaDiscoveryResponse, Resource};

use ResourceType::{Address, Authorization};

fn take(known: &mut Known, kind: ResourceType, resources: Vec<Resource>) -> Vec<String> {
    let rejected = known.apply(kind, response(kind, "", resources), Extent::Changes);
    rejected.into_iter().map(|one| one.name).collect()
}

/// Everything that is known, in order.
fn names(known: &Known) -> Vec<String> {
    let state = known.state();
    let workloads = state.workloads.iter().map(|w| w.uid.to_string());
    let services = state.services.iter().map(|s| s.hostname.to_string());
    let policies = state.policies.iter().map(|p| p.name.to_string());
    workloads.chain(services).chain(policies).collect()
}

#[test]
fn changes_add_replace_and_remove() {
    let mut known = Known::default();
    assert!(
        take(
            &mut known,
            Address,
            vec![workload("b", "1", 1), service("s")]
        )
        .is_empty()
    );
    assert!(!known.is_complete(), "policies have not been told yet");
    assert!(take(&mut known, Authorization, vec![]).is_empty());
    assert!(known.is_complete());
    take(&mut known, Authorization, vec![policy("p", 1)]);
    take(
        &mut known,
        Address,
        vec![workload("a", "1", 2), workload("b", "2", 3)],
    );
    assert_eq!(names(&known), ["a", "b", "s", "p"]);
    assert_eq!(known.state().workloads[1].ips[0].to_string(), "10.0.0.3");
    assert_eq!((known.count(Address), known.count(Authorization)), (3, 1));

    let gone = removal(Address, "", &["a", "shop/s", "never known"]);
    assert!(known.apply(Address, gone, Extent::Changes).is_empty());
    let gone = removal(Authorization, "", &["shop/p"]);
    known.apply(Authorization, gone, Extent::Changes);
    assert_eq!(names(&known), ["b"]);
}

#[test]
fn a_bad_resource_does_not_hurt_others_nor_what_was_known_of_it() {
    let mut known = Known::default();
    take(&mut known, Address, vec![workload("a", "1", 1)]);
    let bad = vec![
        spoiled(workload("a", "2", 2)),
        workload("b", "1", 3),
        Resource::default(),
    ];
    assert_eq!(take(&mut known, Address, bad), ["a", ""]);
    assert_eq!(names(&known), ["a", "b"]);
    assert_eq!(known.state().workloads[0].ips[0].to_string(), "10.0.0.1");
    // It is asked for again: the version that was rejected is not among those that are held.
    assert_eq!(known.versions(Address)["a"], "1");
}

#[test]
fn a_policy_that_cannot_be_read_refuses_unless_an_earlier_one_is_known() {
    let mut known = Known::default();
    take(&mut known, Authorization, vec![policy("known", 0)]);
    let bad = vec![
        policy("known", 9),
        policy("new", 9),
        spoiled(policy("undecodable", 0)),
    ];
    let rejected = take(&mut known, Authorization, bad);
    assert_eq!(rejected, ["shop/known", "shop/new", "shop/undecodable"]);
    let state = known.state();
    let malformed = |policy: &Arc<Policy>| {
        let malformed = matches!(policy.rules, PolicyRules::Malformed { .. });
        (policy.name.to_string(), malformed)
    };
    let held: Vec<_> = state.policies.iter().map(malformed).collect();
    assert_eq!(
        held,
        [("known".to_owned(), false), ("new".to_owned(), true)]
    );
    // The one that stands in is forgotten like any other.
    known.apply(
        Authorization,
        removal(Authorization, "", &["shop/new"]),
        Extent::Changes,
    );
    assert_eq!(names(&known), ["known"]);
}

#[test]
fn a_response_that_says_everything_takes_the_rest_away() {
    let mut known = Known::default();
    take(
        &mut known,
        Address,
        vec![workload("a", "1", 1), workload("b", "1", 2)],
    );
    take(&mut known, Authorization, vec![policy("p", 0)]);
    // What is named and rejected is not gone.
    let all = response(
        Address,
        "",
        vec![spoiled(workload("b", "2", 2)), workload("c", "1", 3)],
    );
    known.apply(Address, all, Extent::Everything);
    assert_eq!(names(&known), ["b", "c", "p"]);
}

/// A workload that comes and goes for ever, under ever new names.
#[test]
fn texts_of_what_is_gone_are_let_go_of() {
    let mut known = Known::default();
    for round in 0..5000 {
        let uid = format!("w{round}");
        let mut one = workload(&uid, "1", 1);
        let address = proto::Address {
            workload: Some(proto::Workload {
                uid: uid.clone(),
                namespace: "shop".to_owned(),
                node: format!("node{round}"),
                ..proto::Workload::default()
            }),
            service: None,
        };
        one.resource.as_mut().unwrap().value = address.encode_to_vec().into();
        take(&mut known, Address, vec![one]);
        known.apply(Address, removal(Address, "", &[&uid]), Extent::Changes);
    }
    assert!(known.texts() < 2000, "{} texts", known.texts());
}

/// Optimised, it is the largest mesh meant: from the bytes of a response to a snapshot, and then one
/// change.
#[test]
#[expect(clippy::print_stdout, reason = "for whoever measures")]
fn large_mesh() {
    let count: u32 = if cfg!(debug_assertions) {
        5_000
    } else {
        50_000
    };
    let address = |i: u32| proto::Address {
        workload: Some(proto::Workload {
            uid: format!("Kubernetes//Pod/default/w{i}"),
            name: format!("w{i}"),
            namespace: "default".to_owned(),
            service_account: format!("sa{}", i % 100),
            addresses: vec![
                std::net::Ipv4Addr::from(0x0a00_0000 + i)
                    .octets()
                    .to_vec()
                    .into(),
            ],
            node: format!("n{}", i % 500),
            canonical_name: format!("app{}", i % 1000),
            workload_name: format!("app{}", i % 1000),
            tunnel_protocol: 1,
            ..proto::Workload::default()
        }),
        service: None,
    };
    let one = |i: u32| {
        resource(
            Address,
            &format!("Kubernetes//Pod/default/w{i}"),
            "",
            &address(i),
        )
    };
    let bytes = response(Address, "", (0..count).map(one).collect()).encode_to_vec();
    let started = Instant::now();
    let decoded = DeltaDiscoveryResponse::decode(Bytes::from(bytes)).unwrap();
    let decoded_in = started.elapsed();
    let started = Instant::now();
    let mut known = Known::default();
    assert!(known.apply(Address, decoded, Extent::Changes).is_empty());
    let converted_in = started.elapsed();
    let started = Instant::now();
    let snapshot = known.state().into_snapshot(1);
    let indexed_in = started.elapsed();
    let started = Instant::now();
    take(&mut known, Address, vec![one(7)]);
    let changed = known.state().into_snapshot(2);
    let changed_in = started.elapsed();
    println!(
        "{count} workloads: decoded in {decoded_in:?}, converted in {converted_in:?}, indexed in \
         {indexed_in:?}; one change in {changed_in:?}"
    );
    for snapshot in [snapshot, changed] {
        assert_eq!(snapshot.workloads().count(), count as usize);
    }
}
