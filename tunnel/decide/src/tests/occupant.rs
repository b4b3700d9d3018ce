use std::sync::Arc;

use tunnel_model::{OriginalDst, SourceAddr};

use super::{Mesh, hbone, ip, own, service, socket};
use crate::{Occupant, OutboundFacts, OutboundVerdict, PodRange, outbound};

fn verdict(mesh: Mesh, to: &str, range: Option<PodRange>, occupant: Option<Occupant>) -> String {
    let snapshot = mesh
        .workload(hbone("client", &["10.0.0.1", "fd00::1"]))
        .workload(hbone("server", &["10.0.0.2"]))
        .service(service("web", &["10.96.0.1"], &[]))
        .build();
    let facts = OutboundFacts {
        own: own(&snapshot, "client"),
        source: SourceAddr::new(socket("10.0.0.1:40000")),
        original_dst: OriginalDst::new(socket(to)),
        network: "".into(),
        random: 0,
        pods: range.map(Arc::new),
        occupant,
    };
    match outbound(&snapshot, &facts) {
        OutboundVerdict::Hbone(route) => {
            format!(
                "hbone {} {} {:?}",
                route.next_hop, route.target, route.expected
            )
        }
        OutboundVerdict::Passthrough(route) => format!("clear {}", route.next_hop),
        OutboundVerdict::Refuse(refusal) => format!("refuse {refusal}"),
        OutboundVerdict::Ask => "ask".to_owned(),
    }
}

fn asked(to: &str, range: Option<PodRange>) -> bool {
    verdict(Mesh::default(), to, range, None) == "ask"
}

#[test]
fn it_is_asked_about_unknown_addresses_that_may_be_a_pods() {
    let private = || Some(PodRange::Private);
    let blocks = || {
        let blocks = ["10.1.0.0/16", "fd01::/48"].map(|text| text.parse().unwrap());
        Some(PodRange::Blocks(blocks.to_vec()))
    };
    // Address; asked if all that is private may be a pod's; asked if the blocks are known.
    let table = [
        ("10.0.0.9:80", true, false),
        ("10.1.0.9:80", true, true),
        ("[::ffff:10.1.0.9]:80", true, true),
        ("172.16.0.1:80", true, false),
        ("172.32.0.1:80", false, false),
        ("192.168.7.7:80", true, false),
        ("100.64.0.1:80", true, false),
        ("100.127.255.255:80", true, false),
        ("100.128.0.1:80", false, false),
        ("100.63.0.1:80", false, false),
        ("[fd00::9]:80", true, false),
        ("[fc00::9]:80", true, false),
        ("[fd01::9]:80", true, true),
        ("[2001:db8::1]:80", false, false),
        ("8.8.8.8:80", false, false),
        ("169.254.169.254:80", false, false),
        ("127.0.0.1:80", false, false),
        // What is known is not asked about.
        ("10.0.0.2:80", false, false),
        ("10.96.0.1:80", false, false),
    ];
    for (to, by_private, by_blocks) in table {
        assert_eq!(asked(to, private()), by_private, "{to}");
        assert_eq!(asked(to, blocks()), by_blocks, "{to}");
        assert!(!asked(to, None), "{to}: nobody can be asked");
    }
}

#[test]
fn the_answer_decides() {
    let to = "10.0.0.9:80";
    let answer = |occupant| verdict(Mesh::default(), to, Some(PodRange::Private), Some(occupant));
    assert_eq!(answer(Occupant::Outsider), "clear 10.0.0.9:80");
    let member = Arc::new(hbone("fresh", &["10.0.0.9"]));
    let by_tunnel = answer(Occupant::Member(Arc::clone(&member)));
    assert!(
        by_tunnel.starts_with("hbone 10.0.0.9:15008 10.0.0.9:80 "),
        "{by_tunnel}"
    );
    assert!(
        by_tunnel.contains("spiffe://td/ns/ns/sa/fresh"),
        "{by_tunnel}"
    );
    let refused = answer(Occupant::Unknown {
        why: "the API server is away".into(),
    });
    assert!(
        refused.starts_with("refuse unknown destination: 10.0.0.9 "),
        "{refused}"
    );
    assert!(refused.contains("the API server is away"), "{refused}");
    // The control plane has told of it meanwhile, and knows better.
    let told = Mesh::default().workload(super::tcp("told", &["10.0.0.9"]));
    let verdict = verdict(
        told,
        to,
        Some(PodRange::Private),
        Some(Occupant::Member(member)),
    );
    assert_eq!(verdict, "clear 10.0.0.9:80");
    assert!(PodRange::Private.may_hold(ip("10.0.0.9")));
}
