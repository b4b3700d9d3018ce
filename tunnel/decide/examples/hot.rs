//! The decisions of the data path in a loop, for counting their instructions.
//!
//! `hot CASE ROUNDS` with CASE one of `outbound`, `inbound`. The difference between two numbers of
//! rounds under `valgrind --tool=callgrind` is the cost of a decision, whatever else the machine
//! is doing.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "a measuring program"
)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tunnel_decide::{InboundFacts, InboundVerdict, OutboundFacts, OutboundVerdict};
use tunnel_model::{
    Identity, IpNetwork, Match, OriginalDst, Policy, PolicyRules, Protocol, Rule, Snapshot,
    SnapshotBuilder, SourceAddr, StringMatch, Workload,
};

/// Workloads in the mesh.
const WORKLOADS: u32 = 10_000;
/// Policies that apply to each of them.
const POLICIES: usize = 10;

fn address(n: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n))
}

fn workload(n: u32) -> Workload {
    let identity = Identity::new("cluster.local", "default", &format!("sa{}", n % 100)).unwrap();
    let uid = format!("c//Pod/default/w{n}");
    let mut workload = Workload::new(&uid, &format!("w{n}"), identity, vec![address(n)]);
    workload.protocol = Protocol::Hbone;
    workload
}

fn policy(n: usize) -> Policy {
    let mut matching = Match::default();
    matching.principals.push(StringMatch::Exact(
        format!("cluster.local/ns/x/sa/{n}").into(),
    ));
    matching
        .source_ips
        .push("192.0.2.0/24".parse::<IpNetwork>().unwrap());
    let rule = Rule {
        clauses: vec![tunnel_model::Clause {
            matches: vec![matching],
        }],
    };
    Policy {
        name: format!("p{n}").into(),
        namespace: "default".into(),
        scope: tunnel_model::Scope::Namespace,
        action: tunnel_model::Action::Deny,
        dry_run: false,
        rules: PolicyRules::Valid(vec![rule]),
    }
}

fn mesh() -> Snapshot {
    let mut builder = SnapshotBuilder::default();
    for n in 1..=WORKLOADS {
        builder.add_workload(workload(n));
    }
    for n in 0..POLICIES {
        builder.add_policy(policy(n));
    }
    builder.build(1)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let case = arguments.next().unwrap_or_default();
    let rounds: u32 = arguments
        .next()
        .and_then(|r| r.parse().ok())
        .expect("hot CASE ROUNDS");
    let mesh = mesh();
    let own = Arc::clone(mesh.workload_by_uid("c//Pod/default/w1").unwrap());
    let peer = workload(7).identity().clone();
    let mut taken = 0;
    for round in 0..rounds {
        let other = address(2 + round % (WORKLOADS - 2));
        taken += match case.as_str() {
            "outbound" => {
                let facts = OutboundFacts {
                    own: Arc::clone(&own),
                    source: SourceAddr::new(SocketAddr::new(address(1), 4000)),
                    original_dst: OriginalDst::new(SocketAddr::new(other, 80)),
                    network: "".into(),
                    random: u64::from(round),
                    pods: None,
                    occupant: None,
                };
                let verdict = tunnel_decide::outbound(&mesh, &facts);
                u32::from(matches!(verdict, OutboundVerdict::Hbone(_)))
            }
            "inbound" => {
                let facts = InboundFacts {
                    own: Arc::clone(&own),
                    source: SourceAddr::new(SocketAddr::new(address(7), 4000)),
                    connection_dst: address(1),
                    peer: peer.clone(),
                    authority: "10.0.0.1:80",
                    network: "".into(),
                    root_namespace: "".into(),
                };
                let verdict = tunnel_decide::inbound_hbone(&mesh, &facts);
                u32::from(matches!(verdict, InboundVerdict::Deliver { .. }))
            }
            other => panic!("no case {other:?}: outbound or inbound"),
        };
    }
    assert_eq!(taken, rounds, "a decision was not the expected one");
}
