use std::sync::Arc;

use tunnel_model::{
    Action, ApplicationTunnel, Match, NetworkMode, OriginalDst, Policy, PolicyRules, ResponseFlag,
    Rule, Scope, Service, Snapshot, SourceAddr, StringMatch, TunnelProxying, WeightedWaypoint,
};

use super::{
    Mesh, gateway_at, gateway_named, hbone, identity, ip, key, own, service, serving, socket, with,
};
use crate::{
    DecidedBy, InboundFacts, InboundVerdict, PlaintextFacts, inbound_hbone, inbound_plaintext,
};

fn mesh() -> Mesh {
    Mesh::default()
        .workload(hbone("client", &["10.0.0.1"]))
        .workload(hbone("server", &["10.0.0.2", "fd00::2"]))
}

struct Asked<'a> {
    source: &'a str,
    peer: &'a str,
    destination: &'a str,
    authority: &'a str,
}

const ASKED: Asked<'_> = Asked {
    source: "10.0.0.1",
    peer: "client",
    destination: "10.0.0.2",
    authority: "10.0.0.2:80",
};

fn verdict(snapshot: &Snapshot, asked: &Asked<'_>) -> InboundVerdict {
    let facts = InboundFacts {
        own: own(snapshot, "server"),
        source: SourceAddr::new((ip(asked.source), 40000).into()),
        connection_dst: ip(asked.destination),
        peer: identity(asked.peer),
        authority: asked.authority,
        network: "".into(),
        root_namespace: "root".into(),
    };
    inbound_hbone(snapshot, &facts)
}

/// The verdict in words: the next hop, or `STATUS FLAG WHO: WHY`.
fn words(verdict: &InboundVerdict) -> String {
    match verdict {
        InboundVerdict::Deliver { next_hop, .. } => next_hop.to_string(),
        InboundVerdict::Refuse(refusal) => {
            let (status, flag) = (refusal.http_status(), refusal.flag());
            format!("{status} {flag} {}: {refusal}", refusal.by)
        }
    }
}

fn check(snapshot: &Snapshot, asked: &Asked<'_>, expected: &str) {
    let said = words(&verdict(snapshot, asked));
    assert_eq!(
        said, expected,
        "{} of {} at {}",
        asked.peer, asked.source, asked.authority
    );
}

#[test]
fn for_this_pod_only() {
    let snapshot = mesh().build();
    check(&snapshot, &ASKED, "10.0.0.2:80");
    check(
        &snapshot,
        &Asked {
            authority: "[::ffff:10.0.0.2]:80",
            ..ASKED
        },
        "10.0.0.2:80",
    );
    check(
        &snapshot,
        &Asked {
            destination: "::ffff:10.0.0.2",
            ..ASKED
        },
        "10.0.0.2:80",
    );
    let six = Asked {
        destination: "fd00::2",
        authority: "[fd00::2]:80",
        ..ASKED
    };
    check(&snapshot, &six, "[fd00::2]:80");
    for (authority, asked) in [
        ("10.0.0.1:80", "10.0.0.1"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:80", "::1"),
        ("0.0.0.0:80", "0.0.0.0"),
        ("[fd00::2]:80", "fd00::2"),
    ] {
        let expected = format!("400 CONNECT destination check: ip mismatch: 10.0.0.2 != {asked}");
        check(&snapshot, &Asked { authority, ..ASKED }, &expected);
    }
    let expected = "400 CONNECT protocol: invalid authority: \"10.0.0.2\"";
    check(
        &snapshot,
        &Asked {
            authority: "10.0.0.2",
            ..ASKED
        },
        expected,
    );
}

#[test]
fn never_back_to_the_tunnel() {
    let web = service("web", &[], &[(80, 15006)]);
    let snapshot = mesh().service(web).build();
    for (authority, port) in [
        ("10.0.0.2:15001", 15001),
        ("10.0.0.2:15006", 15006),
        ("10.0.0.2:15008", 15008),
        ("web:80", 15006),
    ] {
        let expected =
            format!("503 CONNECT loop protection: recursive call to self: 10.0.0.2:{port}");
        check(&snapshot, &Asked { authority, ..ASKED }, &expected);
    }
}

#[test]
fn the_peer_is_who_owns_its_address() {
    let mut host = hbone("host", &["10.0.0.7"]);
    host.network_mode = NetworkMode::HostNetwork;
    let snapshot = mesh().workload(host).build();
    let expected = "401 IDENTITY_ERROR identity check: identity mismatch: 10.0.0.1 belongs to \
                    spiffe://td/ns/ns/sa/client, the peer is spiffe://td/ns/ns/sa/thief";
    check(
        &snapshot,
        &Asked {
            peer: "thief",
            ..ASKED
        },
        expected,
    );
    // An address nobody is known to own, or that is a node's, says nothing.
    check(
        &snapshot,
        &Asked {
            peer: "thief",
            source: "10.9.9.9",
            ..ASKED
        },
        "10.0.0.2:80",
    );
    check(
        &snapshot,
        &Asked {
            peer: "thief",
            source: "10.0.0.7",
            ..ASKED
        },
        "10.0.0.2:80",
    );
}

#[test]
fn by_hostname() {
    let server = serving(hbone("server", &["10.0.0.2"]), &[("web", &[(80, 8080)])]);
    let web = service("web", &[], &[(80, 0), (81, 8081), (82, 0)]);
    let snapshot = mesh().workload(server).service(web).build();
    let at = |authority| Asked { authority, ..ASKED };
    check(&snapshot, &at("web:80"), "10.0.0.2:8080");
    check(&snapshot, &at("WEB:80"), "10.0.0.2:8080");
    check(&snapshot, &at("web:81"), "10.0.0.2:8081");
    let unresolvable = "503 CONNECT routing: service port unresolvable: ns/web port";
    check(&snapshot, &at("web:82"), &format!("{unresolvable} 82"));
    check(&snapshot, &at("web:83"), &format!("{unresolvable} 83"));
    check(
        &snapshot,
        &at("other:80"),
        "503 CONNECT routing: no service for hostname: other",
    );
}

#[test]
fn a_waypoint_takes_what_it_stands_before() {
    let way = || service("way", &[], &[(15008, 15008)]);
    let waypoint = || serving(hbone("server", &["10.0.0.2"]), &[("way", &[])]);
    let web = || service("web", &["10.1.0.1"], &[(80, 80)]);
    let at_service = Asked {
        authority: "10.1.0.1:80",
        ..ASKED
    };
    let at_pod = Asked {
        authority: "10.0.0.5:80",
        ..ASKED
    };
    let pod = |gateway| with(hbone("pod", &["10.0.0.5"]), |pod| pod.waypoint = gateway);
    let base = || mesh().workload(waypoint()).service(way());
    let mismatch = "400 CONNECT destination check: ip mismatch: 10.0.0.2 !=";

    let unrelated = base().service(web()).workload(pod(None)).build();
    check(&unrelated, &at_service, &format!("{mismatch} 10.1.0.1"));
    check(&unrelated, &at_pod, &format!("{mismatch} 10.0.0.5"));

    for gateway in [gateway_named("way"), gateway_at("10.0.0.2", 15008)] {
        let before_service = Service {
            waypoint: Some(gateway.clone()),
            ..web()
        };
        let before_pod = pod(Some(gateway.clone()));
        let snapshot = base().service(before_service).workload(before_pod).build();
        check(&snapshot, &at_service, "10.0.0.2:80");
        check(&snapshot, &at_pod, "10.0.0.2:80");
        let canary = WeightedWaypoint {
            waypoint: gateway,
            weight: 1,
        };
        let before_service = Service {
            weighted_waypoints: vec![canary],
            ..web()
        };
        check(
            &base().service(before_service).build(),
            &at_service,
            "10.0.0.2:80",
        );
    }
    let other = Service {
        waypoint: Some(gateway_at("10.0.0.1", 15008)),
        ..web()
    };
    check(
        &base().service(other).build(),
        &at_service,
        &format!("{mismatch} 10.1.0.1"),
    );
}

#[test]
fn application_tunnels() {
    let with = |proxying, port| {
        let application_tunnel = Some(ApplicationTunnel { proxying, port });
        let server = with(hbone("server", &["10.0.0.2"]), |server| {
            server.application_tunnel = application_tunnel;
        });
        mesh().workload(server).build()
    };
    let elsewhere = Asked {
        authority: "10.7.7.7:80",
        ..ASKED
    };
    check(
        &with(TunnelProxying::None, Some(15088)),
        &elsewhere,
        "10.0.0.2:15088",
    );
    check(&with(TunnelProxying::None, None), &elsewhere, "10.0.0.2:80");
    let expected = "503 CONNECT routing: the workload's application tunnel asks for PROXY protocol, \
                    which is not supported";
    check(
        &with(TunnelProxying::Proxy, Some(15088)),
        &elsewhere,
        expected,
    );
}

fn policy(name: &str, action: Action, matches: Match) -> Policy {
    let clause = tunnel_model::Clause {
        matches: vec![matches],
    };
    Policy {
        name: name.into(),
        namespace: "ns".into(),
        scope: Scope::Namespace,
        action,
        rules: PolicyRules::Valid(vec![Rule {
            clauses: vec![clause],
        }]),
        dry_run: false,
    }
}

#[test]
fn policies_see_the_resolved_port_and_the_proven_identity() {
    let server = serving(hbone("server", &["10.0.0.2"]), &[("web", &[(80, 8080)])]);
    let wanted = Match {
        destination_ports: vec![8080],
        principals: vec![StringMatch::Exact("td/ns/ns/sa/client".into())],
        source_ips: vec!["10.0.0.1".parse().unwrap()],
        destination_ips: vec!["10.0.0.2".parse().unwrap()],
        ..Match::default()
    };
    let web = service("web", &[], &[(80, 0)]);
    let allow = policy("a", Action::Allow, wanted);
    let snapshot = mesh().workload(server).service(web).policy(allow).build();
    check(
        &snapshot,
        &Asked {
            authority: "web:80",
            ..ASKED
        },
        "10.0.0.2:8080",
    );
    let expected = "401 DENY allow policies: connection closed due to policy rejection: allow \
                    policies exist, but none allowed";
    check(&snapshot, &ASKED, expected);
    let found = verdict(
        &snapshot,
        &Asked {
            authority: "10.0.0.2:8080",
            ..ASKED
        },
    );
    let InboundVerdict::Deliver { parties, .. } = found else {
        panic!("{found:?}")
    };
    assert_eq!(&*parties.service.unwrap().hostname, "web");
    assert_eq!(&*parties.source.unwrap().name, "client");
    assert_eq!(&*parties.destination.unwrap().name, "server");
}

#[test]
fn denials_name_the_policy() {
    let deny = policy(
        "d",
        Action::Deny,
        Match {
            destination_ports: vec![80],
            ..Match::default()
        },
    );
    let snapshot = mesh().policy(deny).build();
    let expected = "401 DENY policy ns/d: connection closed due to policy rejection: explicitly \
                    denied by: ns/d";
    check(&snapshot, &ASKED, expected);
    let mut server = hbone("server", &["10.0.0.2"]);
    server.authorization_policies = vec![key("lost")];
    let expected = "401 DENY policy ns/lost: connection closed due to policy rejection: policy \
                    ns/lost is attached to the workload but has not been received";
    check(&mesh().workload(server).build(), &ASKED, expected);
}

#[test]
fn in_clear() {
    let strict = policy(
        "strict",
        Action::Deny,
        Match {
            not_principals: vec![StringMatch::Presence],
            ..Match::default()
        },
    );
    let check = |snapshot: &Snapshot, destination: &str, expected: Result<(), ResponseFlag>| {
        let facts = PlaintextFacts {
            own: own(snapshot, "server"),
            // The client's own address proves nothing.
            source: SourceAddr::new(socket("10.0.0.1:40000")),
            original_dst: OriginalDst::new(socket(destination)),
            network: Arc::from(""),
            root_namespace: "root".into(),
        };
        match inbound_plaintext(snapshot, &facts) {
            InboundVerdict::Deliver { next_hop, .. } => {
                assert_eq!(
                    (next_hop.to_string(), expected),
                    (destination.to_owned(), Ok(()))
                );
            }
            InboundVerdict::Refuse(refusal) => assert_eq!(Err(refusal.flag()), expected),
        }
    };
    let open = mesh().build();
    check(&open, "10.0.0.2:80", Ok(()));
    check(&open, "[fd00::2]:80", Ok(()));
    for port in [15001, 15006, 15008] {
        check(
            &open,
            &format!("10.0.0.2:{port}"),
            Err(ResponseFlag::Connect),
        );
    }
    check(
        &mesh().policy(strict).build(),
        "10.0.0.2:80",
        Err(ResponseFlag::Deny),
    );
}

#[test]
fn in_clear_to_an_address_that_nobody_outside_can_mean() {
    let snapshot = mesh().build();
    for destination in [
        "127.0.0.1:80",
        "127.8.8.8:80",
        "0.0.0.0:80",
        "224.0.0.1:80",
        "[::1]:80",
        "[::]:80",
        "[ff02::1]:80",
        "[::ffff:127.0.0.1]:80",
        "[::ffff:0.0.0.0]:80",
        "[::ffff:239.1.1.1]:80",
    ] {
        let facts = PlaintextFacts {
            own: own(&snapshot, "server"),
            source: SourceAddr::new(socket("10.0.0.1:40000")),
            original_dst: OriginalDst::new(socket(destination)),
            network: Arc::from(""),
            root_namespace: "root".into(),
        };
        let InboundVerdict::Refuse(refusal) = inbound_plaintext(&snapshot, &facts) else {
            panic!("{destination} was let in")
        };
        let ip = socket(destination).ip().to_canonical();
        assert_eq!(refusal.by, DecidedBy::Protocol);
        assert_eq!(refusal.flag(), ResponseFlag::Connect);
        let said = refusal.to_string();
        assert!(
            said.starts_with(&format!("unreachable from outside: {ip} ")),
            "{said}"
        );
    }
}
