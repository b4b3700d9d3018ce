use std::collections::BTreeMap;

use tunnel_model::{
    ApplicationTunnel, BalancingMode, Health, HealthPolicy, IpFamilies, Locality, RoutingScope,
    Service, TunnelProxying, Workload,
};

use super::{Mesh, hbone, ip, service, serving, with};
use crate::balance::{Asked, NoEndpoint, PortRule, address, choose, failover_rank};

fn endpoint(name: &str, address: &str) -> Workload {
    serving(hbone(name, &[address]), &[("web", &[(80, 8080)])])
}

/// Who is chosen how often over `rounds` numbers, and with which port; or why nobody is.
fn spread(
    client: &Workload,
    service: &Service,
    endpoints: Vec<Workload>,
    rule: PortRule,
    rounds: u64,
) -> Result<BTreeMap<(String, u16), u64>, String> {
    let mut mesh = Mesh::default().service(service.clone());
    for endpoint in endpoints {
        mesh = mesh.workload(endpoint);
    }
    let snapshot = mesh.build();
    let mut chosen = BTreeMap::new();
    for random in 0..rounds {
        let asked = Asked {
            client,
            port: 80,
            rule,
            random,
        };
        let (workload, port) = choose(&snapshot, service, &asked).map_err(|why| match why {
            NoEndpoint::None => "none".to_owned(),
            NoEndpoint::NoAddress(workload) => format!("no address {}", workload.uid),
            NoEndpoint::OtherNetwork(workload) => format!("other network {}", workload.uid),
        })?;
        *chosen.entry((workload.name.to_string(), port)).or_default() += 1;
    }
    Ok(chosen)
}

fn check(service: &Service, endpoints: Vec<Workload>, expected: Result<&[(&str, u16, u64)], &str>) {
    let client = hbone("client", &["10.9.0.1"]);
    check_from(&client, service, endpoints, expected);
}

fn check_from(
    client: &Workload,
    service: &Service,
    endpoints: Vec<Workload>,
    expected: Result<&[(&str, u16, u64)], &str>,
) {
    let found = spread(client, service, endpoints, PortRule::Service, 12);
    let expected = expected.map_err(str::to_owned).map(|list| {
        list.iter()
            .map(|(name, port, times)| (((*name).to_owned(), *port), *times))
            .collect()
    });
    assert_eq!(found, expected);
}

fn web() -> Service {
    service("web", &["10.1.0.1"], &[(80, 0)])
}

#[test]
fn weights() {
    let weighing =
        |name, address, capacity| with(endpoint(name, address), |one| one.capacity = capacity);
    check(&web(), vec![], Err("none"));
    check(
        &web(),
        vec![endpoint("a", "10.0.0.1")],
        Ok(&[("a", 8080, 12)]),
    );
    let two = vec![endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2")];
    check(&web(), two, Ok(&[("a", 8080, 6), ("b", 8080, 6)]));
    let skewed = vec![weighing("a", "10.0.0.1", 3), weighing("b", "10.0.0.2", 1)];
    check(&web(), skewed, Ok(&[("a", 8080, 9), ("b", 8080, 3)]));
    let some = vec![weighing("a", "10.0.0.1", 0), weighing("b", "10.0.0.2", 1)];
    check(&web(), some, Ok(&[("b", 8080, 12)]));
    check(&web(), vec![weighing("a", "10.0.0.1", 0)], Err("none"));
    let heavy = vec![
        weighing("a", "10.0.0.1", u32::MAX),
        weighing("b", "10.0.0.2", u32::MAX),
    ];
    check(&web(), heavy, Ok(&[("a", 8080, 12)]));
}

#[test]
fn health() {
    let sick = || Workload {
        health: Health::Unhealthy,
        ..endpoint("a", "10.0.0.1")
    };
    check(&web(), vec![sick()], Err("none"));
    check(
        &web(),
        vec![sick(), endpoint("b", "10.0.0.2")],
        Ok(&[("b", 8080, 12)]),
    );
    let mut all = web();
    all.load_balancing.health_policy = HealthPolicy::AllowAll;
    check(&all, vec![sick()], Ok(&[("a", 8080, 12)]));
}

#[test]
fn ports() {
    let with = |ports: &[(u16, u16)]| service("web", &[], ports);
    let mapping = |pairs| vec![serving(hbone("a", &["10.0.0.1"]), &[("web", pairs)])];
    check(
        &with(&[(80, 81)]),
        mapping(&[(80, 82)]),
        Ok(&[("a", 82, 12)]),
    );
    check(&with(&[(80, 81)]), mapping(&[]), Ok(&[("a", 81, 12)]));
    check(
        &with(&[(80, 81)]),
        mapping(&[(80, 0)]),
        Ok(&[("a", 81, 12)]),
    );
    check(
        &with(&[(80, 0)]),
        mapping(&[(80, 82)]),
        Ok(&[("a", 82, 12)]),
    );
    check(&with(&[(80, 0)]), mapping(&[(443, 82)]), Err("none"));
    check(&with(&[(443, 81)]), mapping(&[(80, 82)]), Err("none"));
}

#[test]
fn ports_of_a_waypoint() {
    let client = hbone("client", &["10.9.0.1"]);
    let tunnel = ApplicationTunnel {
        proxying: TunnelProxying::None,
        port: Some(15088),
    };
    let check = |declared: &[(u16, u16)], tunnel, expected: Option<u16>| {
        let mut endpoint = serving(hbone("a", &["10.0.0.1"]), &[("web", &[])]);
        endpoint.application_tunnel = tunnel;
        let service = service("web", &[], declared);
        let found = spread(&client, &service, vec![endpoint], PortRule::Waypoint, 1);
        assert_eq!(
            found
                .ok()
                .and_then(|f| f.into_keys().next())
                .map(|(_, port)| port),
            expected
        );
    };
    check(&[(80, 81)], None, Some(81));
    check(&[], None, None);
    check(&[], Some(tunnel), Some(80));
    check(
        &[],
        Some(ApplicationTunnel {
            port: None,
            ..tunnel
        }),
        None,
    );
}

#[test]
fn reach() {
    let far = || with(endpoint("a", "10.0.0.1"), |far| far.network = "far".into());
    check(&web(), vec![far()], Err("other network a"));
    check(
        &web(),
        vec![far(), endpoint("b", "10.0.0.2")],
        Ok(&[("b", 8080, 12)]),
    );
    let nameless = || {
        with(endpoint("a", "10.0.0.1"), |one| {
            one.ips = Vec::new();
            one.hostname = "h".into();
        })
    };
    check(&web(), vec![nameless()], Err("no address a"));
    let six = || endpoint("a", "fd00::1");
    check(&web(), vec![six()], Ok(&[("a", 8080, 12)]));
    check(
        &Service {
            ip_families: IpFamilies::Ipv4Only,
            ..web()
        },
        vec![six()],
        Err("no address a"),
    );
    check(
        &Service {
            ip_families: IpFamilies::Ipv6Only,
            ..web()
        },
        vec![six()],
        Ok(&[("a", 8080, 12)]),
    );
}

fn placed(mut workload: Workload, place: &str) -> Workload {
    let mut parts = place.split('.').map(Into::into);
    let mut part = || parts.next().unwrap();
    let (region, zone, subzone) = (part(), part(), part());
    workload.locality = Locality {
        region,
        zone,
        subzone,
    };
    workload.node = part();
    workload.cluster_id = part();
    workload
}

#[test]
fn strict_scopes() {
    let client = placed(hbone("client", &["10.9.0.1"]), "r.z.s.n.c");
    for (scope, elsewhere) in [
        (RoutingScope::Region, "-.z.s.n.c"),
        (RoutingScope::Zone, "r.-.s.n.c"),
        (RoutingScope::Subzone, "r.z.-.n.c"),
        (RoutingScope::Node, "r.z.s.-.c"),
        (RoutingScope::Cluster, "r.z.s.n.-"),
    ] {
        let mut strict = web();
        strict.load_balancing.mode = BalancingMode::Strict;
        strict.load_balancing.routing_preferences = vec![scope];
        let near = || placed(endpoint("near", "10.0.0.1"), "r.z.s.n.c");
        let far = || placed(endpoint("far", "10.0.0.2"), elsewhere);
        check_from(&client, &strict, vec![far()], Err("none"));
        check_from(
            &client,
            &strict,
            vec![far(), near()],
            Ok(&[("near", 8080, 12)]),
        );
        // Only the scopes named count, each by itself.
        strict.load_balancing.mode = BalancingMode::Standard;
        check_from(
            &client,
            &strict,
            vec![far(), near()],
            Ok(&[("far", 8080, 6), ("near", 8080, 6)]),
        );
    }
}

#[test]
fn failover_ranks() {
    use RoutingScope::{Network, Node, Region, Zone};
    let client = placed(hbone("client", &["10.9.0.1"]), "r.z.s.n.c");
    let check = |scopes: &[RoutingScope], places: &[&str], expected: &[(&str, u16, u64)]| {
        let mut failover = web();
        failover.load_balancing.mode = BalancingMode::Failover;
        failover.load_balancing.routing_preferences = scopes.to_vec();
        let endpoints = places
            .iter()
            .enumerate()
            .map(|(index, place)| placed(endpoint(place, &format!("10.0.0.{}", index + 1)), place));
        check_from(&client, &failover, endpoints.collect(), Ok(expected));
    };
    let (all, zone, region, none) = ("r.z.s.n.c", "r.z.s.-.c", "r.-.s.n.c", "-.-.-.-.-");
    check(
        &[Region, Zone, Node],
        &[none, region, zone, all],
        &[(all, 8080, 12)],
    );
    check(
        &[Region, Zone, Node],
        &[none, region, zone],
        &[(zone, 8080, 12)],
    );
    // Behind a scope that differs, the next ones do not count.
    check(
        &[Zone, Node],
        &[region, none],
        &[(none, 8080, 6), (region, 8080, 6)],
    );
    check(
        &[Network, Region, Zone],
        &[none, region, zone],
        &[(zone, 8080, 12)],
    );
    check(&[Region], &[none], &[(none, 8080, 12)]);
}

/// Endpoints of other networks are not chosen yet, but their order is already settled.
#[test]
fn a_network_in_front_outweighs_all_the_rest() {
    use RoutingScope::{Network, Region, Zone};
    let client = placed(hbone("client", &["10.9.0.1"]), "r.z.s.n.c");
    let rank = |scopes: &[RoutingScope], network: &str, place| {
        let network = network.into();
        let endpoint = placed(endpoint("e", "10.0.0.1"), place);
        let endpoint = with(endpoint, |one| one.network = network);
        failover_rank(scopes, &client, &endpoint)
    };
    let front: &[_] = &[Network, Region, Zone];
    let near_but_away = rank(front, "far", "r.z.s.n.c");
    assert!(rank(front, "", "-.-.s.n.c") > near_but_away);
    assert!(near_but_away > rank(front, "far", "r.-.s.n.c"));
    assert!(rank(front, "far", "r.-.s.n.c") > rank(front, "far", "-.-.s.n.c"));
    // Anywhere else it is a scope like others.
    let behind: &[_] = &[Region, Network, Zone];
    assert_eq!(rank(behind, "far", "r.z.s.n.c"), 1);
    assert_eq!(rank(behind, "", "r.z.s.n.c"), 3);
}

#[test]
fn addresses_of_a_workload() {
    let check =
        |ips: &[&str], families: Option<IpFamilies>, asked: &str, expected: Option<&str>| {
            let service = families.map(|ip_families| Service {
                ip_families,
                ..web()
            });
            let found = address(&hbone("a", ips), service.as_ref(), ip(asked));
            assert_eq!(found, expected.map(ip));
        };
    let both: &[&str] = &["10.0.0.1", "fd00::1"];
    check(both, None, "fd00::1", Some("fd00::1"));
    check(both, None, "10.1.0.1", Some("10.0.0.1"));
    check(both, None, "fd01::1", Some("fd00::1"));
    check(both, Some(IpFamilies::Dual), "fd01::1", Some("fd00::1"));
    check(
        both,
        Some(IpFamilies::Ipv4Only),
        "fd01::1",
        Some("10.0.0.1"),
    );
    check(
        both,
        Some(IpFamilies::Ipv6Only),
        "10.1.0.1",
        Some("fd00::1"),
    );
    check(
        &["10.0.0.1"],
        Some(IpFamilies::Automatic),
        "fd01::1",
        Some("10.0.0.1"),
    );
    check(&["10.0.0.1"], Some(IpFamilies::Ipv6Only), "10.1.0.1", None);
    check(&[], None, "10.1.0.1", None);
}
