use tunnel_model::{
    BalancingMode, Health, Identity, IpNetwork, OriginalDst, Service, Snapshot, SourceAddr,
    WeightedWaypoint, Workload,
};

use super::{
    Mesh, gateway_at, gateway_named, hbone, identity, own, service, serving, socket, tcp, with,
};
use crate::{DecidedBy, OutboundFacts, OutboundVerdict, outbound};

const CLIENT: &str = "10.0.0.1";

fn mesh() -> Mesh {
    Mesh::default()
        .workload(hbone("client", &[CLIENT, "fd00::1"]))
        .workload(hbone("server", &["10.0.0.2", "fd00::2"]))
        .workload(tcp("plain", &["10.0.0.3"]))
}

fn verdict(snapshot: &Snapshot, destination: &str, random: u64) -> OutboundVerdict {
    let facts = OutboundFacts {
        own: own(snapshot, "client"),
        source: SourceAddr::new(socket("10.0.0.1:40000")),
        original_dst: OriginalDst::new(socket(destination)),
        network: "".into(),
        pods: None,
        occupant: None,
        random,
    };
    outbound(snapshot, &facts)
}

/// The verdict in words: `hbone NEXT-HOP TARGET WHO..`, `clear NEXT-HOP`, or `refuse WHY`.
fn words(verdict: &OutboundVerdict) -> String {
    match verdict {
        OutboundVerdict::Hbone(route) => {
            let who: Vec<_> = route
                .expected
                .iter()
                .map(Identity::service_account)
                .collect();
            format!(
                "hbone {} {} {}",
                route.next_hop,
                route.target,
                who.join(",")
            )
        }
        OutboundVerdict::Passthrough(route) => format!("clear {}", route.next_hop),
        OutboundVerdict::Refuse(refusal) => format!("refuse {refusal}"),
        OutboundVerdict::Ask => "ask".to_owned(),
    }
}

fn check(snapshot: &Snapshot, destination: &str, expected: &str) {
    assert_eq!(
        words(&verdict(snapshot, destination, 0)),
        expected,
        "to {destination}"
    );
}

#[test]
fn by_address() {
    let snapshot = mesh().build();
    check(
        &snapshot,
        "10.0.0.2:80",
        "hbone 10.0.0.2:15008 10.0.0.2:80 server",
    );
    check(
        &snapshot,
        "[fd00::2]:80",
        "hbone [fd00::2]:15008 [fd00::2]:80 server",
    );
    check(
        &snapshot,
        "[::ffff:10.0.0.2]:80",
        "hbone 10.0.0.2:15008 10.0.0.2:80 server",
    );
    check(&snapshot, "10.0.0.3:80", "clear 10.0.0.3:80");
    check(&snapshot, "8.8.8.8:53", "clear 8.8.8.8:53");
    check(
        &snapshot,
        "10.0.0.1:80",
        "hbone 10.0.0.1:15008 10.0.0.1:80 client",
    );
}

#[test]
fn never_back_to_the_tunnel() {
    let snapshot = mesh().build();
    for address in [
        "127.0.0.1",
        "127.9.9.9",
        "[::1]",
        "10.0.0.1",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
    ] {
        for port in [15001, 15006, 15008] {
            let verdict = verdict(&snapshot, &format!("{address}:{port}"), 0);
            let OutboundVerdict::Refuse(refusal) = verdict else {
                panic!("{verdict:?}")
            };
            assert_eq!(refusal.by, DecidedBy::LoopProtection, "{address}:{port}");
            assert!(refusal.to_string().starts_with("recursive call to self: "));
        }
    }
    check(&snapshot, "127.0.0.1:80", "clear 127.0.0.1:80");
    check(&snapshot, "10.0.0.3:15001", "clear 10.0.0.3:15001");
}

#[test]
fn an_unhealthy_workload_is_still_reached_in_a_tunnel() {
    let mut server = hbone("server", &["10.0.0.2"]);
    server.health = Health::Unhealthy;
    let snapshot = mesh().workload(server).build();
    check(
        &snapshot,
        "10.0.0.2:80",
        "hbone 10.0.0.2:15008 10.0.0.2:80 server",
    );
}

fn web() -> Service {
    service("web", &["10.1.0.1"], &[(80, 8080)])
}

fn web_server() -> Workload {
    serving(hbone("server", &["10.0.0.2", "fd00::2"]), &[("web", &[])])
}

#[test]
fn by_service() {
    let snapshot = mesh().service(web()).workload(web_server()).build();
    check(
        &snapshot,
        "10.1.0.1:80",
        "hbone 10.0.0.2:15008 10.0.0.2:8080 server",
    );
    check(
        &snapshot,
        "10.1.0.1:81",
        "refuse no healthy upstream: 10.1.0.1:81",
    );
    let verdict = verdict(&snapshot, "10.1.0.1:80", 0);
    let OutboundVerdict::Hbone(route) = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(&*route.parties.service.unwrap().hostname, "web");
    assert_eq!(&*route.parties.destination.unwrap().name, "server");
    assert_eq!(&*route.parties.source.unwrap().name, "client");
    // Nobody behind it is a refusal, not a way in clear.
    let snapshot = mesh().service(web()).build();
    check(
        &snapshot,
        "10.1.0.1:80",
        "refuse no healthy upstream: 10.1.0.1:80",
    );
    // An endpoint outside the mesh is reached in clear, at its own port.
    let plain = serving(tcp("plain", &["10.0.0.3"]), &[("web", &[(80, 8081)])]);
    let snapshot = mesh().service(web()).workload(plain).build();
    check(&snapshot, "10.1.0.1:80", "clear 10.0.0.3:8081");
}

#[test]
fn a_services_other_names_are_expected_for_it_only() {
    let named = Service {
        subject_alt_names: vec![identity("stand-in")],
        ..web()
    };
    let snapshot = mesh().service(named).workload(web_server()).build();
    check(
        &snapshot,
        "10.1.0.1:80",
        "hbone 10.0.0.2:15008 10.0.0.2:8080 server,stand-in",
    );
    check(
        &snapshot,
        "10.0.0.2:80",
        "hbone 10.0.0.2:15008 10.0.0.2:80 server",
    );
}

#[test]
fn the_choice_follows_the_number() {
    let other = serving(hbone("other", &["10.0.0.4"]), &[("web", &[])]);
    let snapshot = mesh()
        .service(web())
        .workload(web_server())
        .workload(other)
        .build();
    let chosen = [0, 1, 2].map(|random| words(&verdict(&snapshot, "10.1.0.1:80", random)));
    assert_eq!(chosen[0], "hbone 10.0.0.2:15008 10.0.0.2:8080 server");
    assert_eq!(chosen[1], "hbone 10.0.0.4:15008 10.0.0.4:8080 other");
    assert_eq!(chosen[2], chosen[0]);
}

#[test]
fn passthrough_services() {
    let mut through = web();
    through.load_balancing.mode = BalancingMode::Passthrough;
    let block: IpNetwork = "10.0.0.0/8".parse().unwrap();
    through.cidr_vips = vec![("".into(), block)];
    let snapshot = mesh().service(through).build();
    check(&snapshot, "10.1.0.1:80", "clear 10.1.0.1:80");
    check(&snapshot, "10.7.7.7:80", "clear 10.7.7.7:80");
    // What is in the mesh stays protected whoever claims its address.
    check(
        &snapshot,
        "10.0.0.2:80",
        "hbone 10.0.0.2:15008 10.0.0.2:80 server",
    );
}

#[test]
fn other_networks_are_refused() {
    let far = |name: &str, ips: &[&str]| with(hbone(name, ips), |far| far.network = "far".into());
    let away = serving(far("away", &["10.0.0.9"]), &[("web", &[])]);
    let snapshot = mesh().service(web()).workload(away).build();
    let said = "refuse no valid destination: away is on network \"far\", and traffic between networks is not supported";
    check(&snapshot, "10.1.0.1:80", said);
    // An address means nothing on another network.
    check(&snapshot, "10.0.0.9:80", "clear 10.0.0.9:80");
}

#[test]
fn nothing_to_connect_to() {
    let nameless = serving(hbone("named", &[]), &[("web", &[])]);
    let snapshot = mesh().service(web()).workload(nameless).build();
    check(
        &snapshot,
        "10.1.0.1:80",
        "refuse no resolved addresses for named",
    );
}

fn waypoint() -> Workload {
    serving(
        hbone("waypoint", &["10.0.0.8"]),
        &[("way", &[(15008, 15008)])],
    )
}

fn way() -> Service {
    Service {
        subject_alt_names: vec![identity("way-service")],
        ..service("way", &["10.1.0.8"], &[(15008, 15008)])
    }
}

#[test]
fn waypoint_of_a_service() {
    let before = |gateway| Service {
        waypoint: Some(gateway),
        ..web()
    };
    let base = || {
        mesh()
            .workload(web_server())
            .workload(waypoint())
            .service(way())
    };
    let through = "hbone 10.0.0.8:15008 10.1.0.1:80 waypoint,way-service";
    check(
        &base()
            .service(before(gateway_at("10.1.0.8", 15008)))
            .build(),
        "10.1.0.1:80",
        through,
    );
    check(
        &base().service(before(gateway_named("way"))).build(),
        "10.1.0.1:80",
        through,
    );
    // A waypoint found by its own address answers for itself only.
    let direct = base()
        .service(before(gateway_at("10.0.0.8", 15008)))
        .build();
    check(
        &direct,
        "10.1.0.1:80",
        "hbone 10.0.0.8:15008 10.1.0.1:80 waypoint",
    );
    // The pod behind it, by its own address, is no business of the service's waypoint.
    check(
        &direct,
        "10.0.0.2:80",
        "hbone 10.0.0.2:15008 10.0.0.2:80 server",
    );
    let by_hostname = with(waypoint(), |way| way.hostname = "way.host".into());
    let named = before(gateway_named("way.host"));
    let snapshot = base().workload(by_hostname).service(named).build();
    check(
        &snapshot,
        "10.1.0.1:80",
        "hbone 10.0.0.8:15008 10.1.0.1:80 waypoint",
    );
}

#[test]
fn a_waypoint_that_is_not_there_is_never_gone_around() {
    let before = |gateway| Service {
        waypoint: Some(gateway),
        ..web()
    };
    let base = || mesh().workload(web_server());
    let gone = base()
        .service(before(gateway_at("10.1.0.8", 15008)))
        .build();
    check(&gone, "10.1.0.1:80", "refuse unknown waypoint: /10.1.0.8");
    let gone = base().service(before(gateway_named("way"))).build();
    check(&gone, "10.1.0.1:80", "refuse unknown waypoint: ns/way");
    let empty = base()
        .service(way())
        .service(before(gateway_named("way")))
        .build();
    check(&empty, "10.1.0.1:80", "refuse unknown waypoint: ns/way");
    let away = with(waypoint(), |way| way.network = "far".into());
    let away = base()
        .workload(away)
        .service(way())
        .service(before(gateway_named("way")))
        .build();
    check(&away, "10.1.0.1:80", "refuse unknown waypoint: ns/way");
    let weightless = WeightedWaypoint {
        waypoint: gateway_named("way"),
        weight: 0,
    };
    let weightless = Service {
        weighted_waypoints: vec![weightless],
        ..web()
    };
    let snapshot = base()
        .workload(waypoint())
        .service(way())
        .service(weightless)
        .build();
    check(
        &snapshot,
        "10.1.0.1:80",
        "refuse unknown waypoint: none of ns/web has a weight",
    );
    let pod = with(web_server(), |pod| {
        pod.waypoint = Some(gateway_named("way"));
    });
    check(
        &mesh().workload(pod).build(),
        "10.0.0.2:80",
        "refuse unknown waypoint: ns/way",
    );
}

#[test]
fn weighted_waypoints() {
    let canary = hbone("canary", &["10.0.0.9"]);
    let weighted = |address, weight| WeightedWaypoint {
        waypoint: gateway_at(address, 15008),
        weight,
    };
    let several = |a, b| Service {
        waypoint: Some(gateway_at("10.0.0.8", 15008)),
        weighted_waypoints: vec![weighted("10.0.0.8", a), weighted("10.0.0.9", b)],
        ..web()
    };
    let check = |a, b, expected: [u32; 2]| {
        let mesh = mesh().workload(waypoint()).workload(canary.clone());
        let snapshot = mesh.service(several(a, b)).build();
        let mut times = [0; 2];
        for step in 0..8_u64 {
            // The number's other half chooses the waypoint.
            let said = words(&verdict(&snapshot, "10.1.0.1:80", step << 32));
            times[usize::from(said.contains("canary"))] += 1;
        }
        assert_eq!(times, expected);
    };
    check(1, 1, [4, 4]);
    check(3, 1, [6, 2]);
    check(0, 1, [0, 8]);
    check(0, 0, [8, 0]);
}

#[test]
fn waypoint_of_a_workload() {
    let pod = |gateway| with(web_server(), |pod| pod.waypoint = Some(gateway));
    let base = || mesh().service(web()).service(way()).workload(waypoint());
    let snapshot = base().workload(pod(gateway_named("way"))).build();
    check(
        &snapshot,
        "10.0.0.2:80",
        "hbone 10.0.0.8:15008 10.0.0.2:80 waypoint,way-service",
    );
    // Addressed to a service, the pod's own waypoint has no part in it.
    check(
        &snapshot,
        "10.1.0.1:80",
        "hbone 10.0.0.2:15008 10.0.0.2:8080 server",
    );
    // The waypoint itself goes straight on; by identity and address, both.
    let own_waypoint = pod(gateway_at(CLIENT, 15008));
    let snapshot = base().workload(own_waypoint).build();
    check(
        &snapshot,
        "10.0.0.2:80",
        "hbone 10.0.0.2:15008 10.0.0.2:80 server",
    );
    let namesake = with(waypoint(), |way| way.identity = identity("client"));
    let snapshot = base()
        .workload(namesake)
        .workload(pod(gateway_named("way")))
        .build();
    check(
        &snapshot,
        "10.0.0.2:80",
        "hbone 10.0.0.8:15008 10.0.0.2:80 client,way-service",
    );
}
