use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use prost::bytes::Bytes;
use tunnel_model::{MeshState, Policy, PolicyRules, ServiceKey, Snapshot};

use super::{ResourceType, policy, removal, resource, response, service, spoiled, workload};
use crate::xds::known::{Extent, Known};
use crate::xds::news::Publication;
use crate::xds::proto::workload as proto;
use crate::xds::proto::{DeltaDiscoveryResponse, Resource};

use ResourceType::{Address, Authorization};

fn take(known: &mut Known, kind: ResourceType, resources: Vec<Resource>) -> Vec<String> {
    let rejected = known.apply(kind, response(kind, "", resources), Extent::Changes);
    rejected.into_iter().map(|one| one.name).collect()
}

fn state(known: &Known) -> MeshState {
    match known.everything() {
        Publication::Everything(state) => state,
        Publication::Changes(changes) => panic!("{changes:?} on top of nothing"),
    }
}

/// Everything that is known, in order.
fn names(known: &Known) -> Vec<String> {
    let state = state(known);
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
    assert_eq!(state(&known).workloads[1].ips[0].to_string(), "10.0.0.3");
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
    assert_eq!(state(&known).workloads[0].ips[0].to_string(), "10.0.0.1");
    // It is asked for again: the version that was rejected is not among those that are held.
    assert_eq!(known.versions(Address, 1000).held["a"], "1");
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
    let state = state(&known);
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
fn a_response_that_says_all_after_a_name_takes_the_rest_away() {
    let mut known = Known::default();
    take(
        &mut known,
        Address,
        vec![
            workload("a", "1", 1),
            workload("b", "1", 2),
            workload("c", "1", 3),
        ],
    );
    take(&mut known, Authorization, vec![policy("p", 0)]);
    // What is named and rejected is not gone.
    let all = response(
        Address,
        "",
        vec![spoiled(workload("b", "2", 2)), workload("d", "1", 4)],
    );
    known.apply(Address, all, Extent::AllAfter("a".into()));
    assert_eq!(names(&known), ["a", "b", "d", "p"]);
    let nothing = response(Address, "", Vec::new());
    known.apply(Address, nothing, Extent::AllAfter("".into()));
    assert_eq!(names(&known), ["p"]);
}

/// What a snapshot answers, with all that it was asked for.
fn answers(snapshot: &Snapshot) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for workload in snapshot.workloads() {
        all.push(format!("{} {:?}", workload.uid, workload.ips));
    }
    for byte in 0..8 {
        let ip = std::net::Ipv4Addr::new(10, 0, 0, byte).into();
        let owner = snapshot.workload_by_ip("", ip);
        all.push(format!("{ip} {:?}", owner.map(|owner| &owner.uid)));
    }
    for name in ["a", "b", "c", "d", "e"] {
        let named = snapshot.workload_by_name("shop", name, "default");
        all.push(format!("{name} {:?}", named.map(|named| &named.uid)));
        let key = ServiceKey::new("shop", name);
        let service = snapshot.service_by_key(&key);
        all.push(format!("{name} {:?}", service.map(|known| &known.hostname)));
    }
    all.extend(snapshot.policies().map(|policy| policy.key().to_string()));
    all
}

/// Responses as chance has it; after each of them changes must have led to what is made anew.
#[test]
fn changes_lead_to_what_everything_would() {
    let mut chance = 1_u32;
    let mut next = |below: u32| {
        chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (chance >> 16) % below
    };
    let (mut known, mut published) = (Known::default(), Snapshot::default());
    let (mut everything, mut changes) = (0, 0);
    for round in 0..2000 {
        let name = ["a", "b", "c", "d", "e"][next(5) as usize];
        let version = next(3).to_string();
        let (kind, said) = match next(7) {
            0..3 => {
                let byte = u8::try_from(next(8)).unwrap();
                (
                    Address,
                    response(Address, "", vec![workload(name, &version, byte)]),
                )
            }
            3 => (Address, removal(Address, "", &[name])),
            4 => (Address, response(Address, "", vec![service(name)])),
            5 => (Address, removal(Address, "", &[&format!("shop/{name}")])),
            _ => {
                let action = i32::try_from(next(2)).unwrap();
                (
                    Authorization,
                    response(Authorization, "", vec![policy(name, action)]),
                )
            }
        };
        known.apply(kind, said, Extent::Changes);
        if next(2) == 0 {
            continue;
        }
        published = match known.news() {
            Publication::Everything(state) => {
                everything += 1;
                state.into_snapshot(0)
            }
            Publication::Changes(news) => {
                changes += 1;
                published.changed(news)
            }
        };
        let anew = state(&known).into_snapshot(0);
        assert_eq!(answers(&published), answers(&anew), "round {round}");
    }
    assert!(everything == 1 && changes > 500, "{everything}, {changes}");
}

#[test]
fn what_is_held_in_a_version_is_not_read_again() {
    let mut known = Known::default();
    take(&mut known, Address, vec![workload("a", "1", 1)]);
    known.news();
    // Nobody tells something else under a version; that it is not looked at can so be seen.
    assert!(take(&mut known, Address, vec![spoiled(workload("a", "1", 2))]).is_empty());
    let Publication::Changes(changes) = known.news() else {
        panic!("everything");
    };
    assert!(changes.workloads.is_empty() && changes.services.is_none());
    assert_eq!(
        take(&mut known, Address, vec![spoiled(workload("a", "2", 2))]),
        ["a"]
    );
}

/// Two names for one uid: when one of them goes, the other is still there.
#[test]
fn a_workload_that_is_not_named_by_its_uid_is_not_lost() {
    let mut known = Known::default();
    let mut twin = workload("a", "1", 1);
    twin.name = "twin".into();
    take(&mut known, Address, vec![workload("a", "1", 1), twin]);
    known.news();
    known.apply(Address, removal(Address, "", &["twin"]), Extent::Changes);
    let Publication::Everything(state) = known.news() else {
        panic!("only changes");
    };
    assert_eq!(state.workloads.len(), 1);
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
    let Publication::Everything(state) = known.news() else {
        panic!("changes of nothing");
    };
    let snapshot = state.into_snapshot(1);
    let indexed_in = started.elapsed();
    let started = Instant::now();
    take(&mut known, Address, vec![one(7)]);
    let Publication::Changes(changes) = known.news() else {
        panic!("everything again");
    };
    let changed = snapshot.changed(changes);
    let changed_in = started.elapsed();
    println!(
        "{count} workloads: decoded in {decoded_in:?}, converted in {converted_in:?}, indexed in \
         {indexed_in:?}; one change in {changed_in:?}"
    );
    for snapshot in [snapshot, changed] {
        assert_eq!(snapshot.workloads().count(), count as usize);
    }
}
