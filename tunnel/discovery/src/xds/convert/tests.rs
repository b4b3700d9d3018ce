#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use prost::Message;
use prost::bytes::Bytes;
use tunnel_model::{
    Action, BalancingMode, GatewayDestination, Health, HealthPolicy, Interner, IpFamilies,
    NetworkMode, PolicyKey, PolicyRules, Protocol, RoutingScope, Scope, Service, ServiceKey,
    StringMatch, TunnelProxying, Visibility, Workload, WorkloadType,
};

use super::*;
use crate::xds::proto::authorization::{self, Block, Clause, Match, Rule};
use crate::xds::proto::workload as proto;
use crate::xds::proto::workload::{
    ApplicationTunnel, GatewayAddress, LoadBalancing, Locality, NamespacedHostname, NetworkAddress,
    Port, PortList, UInt32Value, WeightedWaypoint,
};

fn any(kind: ResourceType, message: &impl Message) -> Any {
    Any {
        type_url: kind.url().into(),
        value: message.encode_to_vec().into(),
    }
}

fn read_address(
    workload: Option<proto::Workload>,
    service: Option<proto::Service>,
) -> Result<AddressResource, String> {
    let message = Address { workload, service };
    address(
        &any(ResourceType::Address, &message),
        &mut Interner::default(),
    )
}

fn workload(message: proto::Workload) -> Result<Arc<Workload>, String> {
    match read_address(Some(message), None)? {
        AddressResource::Workload(workload) => Ok(workload),
        AddressResource::Service(_) => panic!("a service"),
    }
}

fn service(message: proto::Service) -> Result<Arc<Service>, String> {
    match read_address(None, Some(message))? {
        AddressResource::Service(service) => Ok(service),
        AddressResource::Workload(_) => panic!("a workload"),
    }
}

fn small_workload() -> proto::Workload {
    proto::Workload {
        uid: "c//Pod/shop/web".to_owned(),
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        ..proto::Workload::default()
    }
}

fn small_service() -> proto::Service {
    proto::Service {
        namespace: "shop".to_owned(),
        hostname: "web.shop.svc".to_owned(),
        ..proto::Service::default()
    }
}

fn ports(pairs: &[(u32, u32)]) -> PortList {
    PortList {
        ports: port_messages(pairs),
    }
}

fn port_messages(pairs: &[(u32, u32)]) -> Vec<Port> {
    let port = |(service_port, target_port): &(u32, u32)| Port {
        service_port: *service_port,
        target_port: *target_port,
    };
    pairs.iter().map(port).collect()
}

fn at_address(address: &'static [u8], length: Option<u32>) -> NetworkAddress {
    NetworkAddress {
        network: "n1".to_owned(),
        address: Bytes::from_static(address),
        length,
    }
}

fn gateway_at(address: &'static [u8]) -> GatewayAddress {
    GatewayAddress {
        address: Some(at_address(address, None)),
        ..GatewayAddress::default()
    }
}

#[test]
fn what_a_workload_leaves_out_has_its_default() {
    let read = workload(small_workload()).unwrap();
    let identity = "spiffe://cluster.local/ns/shop/sa/default";
    assert_eq!(read.identity().as_str(), identity);
    let expected = Workload::new("c//Pod/shop/web", "web", identity.parse().unwrap(), vec![]);
    assert_eq!(*read, expected);
}

#[test]
fn every_field_of_a_workload_arrives() {
    let read = workload(proto::Workload {
        addresses: vec![
            Bytes::from_static(&[10, 0, 0, 1]),
            Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 2]),
        ],
        network: "n1".to_owned(),
        tunnel_protocol: 1,
        trust_domain: "td".to_owned(),
        service_account: "sa".to_owned(),
        waypoint: Some(GatewayAddress {
            hbone_mtls_port: 15009,
            ..gateway_at(&[10, 0, 0, 9])
        }),
        node: "node".to_owned(),
        canonical_name: "cn".to_owned(),
        canonical_revision: "v1".to_owned(),
        workload_type: 2,
        workload_name: "wn".to_owned(),
        native_tunnel: true,
        authorization_policies: vec!["shop/deny".to_owned()],
        status: 1,
        cluster_id: "c".to_owned(),
        network_gateway: Some(GatewayAddress {
            hostname: Some(NamespacedHostname {
                namespace: "gw".to_owned(),
                hostname: "gw.svc".to_owned(),
            }),
            ..GatewayAddress::default()
        }),
        hostname: "h.example".to_owned(),
        services: [(
            "shop/web.shop.svc".to_owned(),
            ports(&[(80, 8080), (81, 0)]),
        )]
        .into(),
        application_tunnel: Some(ApplicationTunnel {
            protocol: 1,
            port: 15088,
        }),
        locality: Some(Locality {
            region: "r".to_owned(),
            zone: "z".to_owned(),
            subzone: "s".to_owned(),
        }),
        network_mode: 1,
        capacity: Some(UInt32Value { value: 7 }),
        ..small_workload()
    })
    .unwrap();
    let ips: Vec<_> = read.ips.iter().map(ToString::to_string).collect();
    assert_eq!(ips, ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(read.identity().as_str(), "spiffe://td/ns/shop/sa/sa");
    assert_eq!(read.protocol, Protocol::Hbone);
    assert_eq!(
        (&*read.network, &*read.node, &*read.cluster_id),
        ("n1", "node", "c")
    );
    assert_eq!(
        (&*read.canonical_name, &*read.canonical_revision),
        ("cn", "v1")
    );
    assert_eq!((&*read.workload_name, &*read.hostname), ("wn", "h.example"));
    assert_eq!(read.workload_type, WorkloadType::Pod);
    assert!(read.native_tunnel);
    assert_eq!(
        read.authorization_policies,
        [PolicyKey::new("shop", "deny")]
    );
    assert_eq!(read.health, Health::Unhealthy);
    assert_eq!(read.network_mode, NetworkMode::HostNetwork);
    assert_eq!(read.capacity, 7);
    let locality = &read.locality;
    assert_eq!(
        (&*locality.region, &*locality.zone, &*locality.subzone),
        ("r", "z", "s")
    );
    let waypoint = read.waypoint.as_ref().unwrap();
    assert_eq!(
        (waypoint.destination.to_string(), waypoint.hbone_port),
        ("n1/10.0.0.9".into(), 15009)
    );
    let gateway = read.network_gateway.as_ref().unwrap();
    let name = GatewayDestination::Hostname(ServiceKey::new("gw", "gw.svc"));
    assert_eq!((&gateway.destination, gateway.hbone_port), (&name, 15008));
    let served = read
        .services
        .get(&ServiceKey::new("shop", "web.shop.svc"))
        .unwrap();
    assert_eq!(served.iter().collect::<Vec<_>>(), [(80, 8080)]);
    let tunnel = read.application_tunnel.unwrap();
    assert_eq!(
        (tunnel.proxying, tunnel.port),
        (TunnelProxying::Proxy, Some(15088))
    );
}

#[test]
fn every_field_of_a_service_arrives() {
    let read = service(proto::Service {
        name: "web".to_owned(),
        addresses: vec![
            at_address(&[10, 1, 0, 1], None),
            at_address(&[10, 2, 0, 0], Some(16)),
        ],
        ports: port_messages(&[(80, 8080), (90, 0)]),
        subject_alt_names: vec!["spiffe://td/ns/a/sa/b".to_owned(), "web.example".to_owned()],
        waypoint: Some(gateway_at(&[10, 0, 0, 9])),
        load_balancing: Some(LoadBalancing {
            routing_preference: vec![6, 1],
            mode: 2,
            health_policy: 1,
        }),
        ip_families: 3,
        canonical: true,
        weighted_waypoints: vec![WeightedWaypoint {
            destination: Some(gateway_at(&[10, 0, 0, 8])),
            weight: 3,
        }],
        visibility: 1,
        ..small_service()
    })
    .unwrap();
    assert_eq!(read.key(), ServiceKey::new("shop", "web.shop.svc"));
    assert_eq!(read.vips[0].to_string(), "n1/10.1.0.1");
    let (network, block) = &read.cidr_vips[0];
    assert_eq!(
        (&**network, block.to_string()),
        ("n1", "10.2.0.0/16".to_owned())
    );
    assert_eq!((read.target(80), read.target(90)), (Some(8080), Some(0)));
    assert_eq!(read.subject_alt_names.len(), 1);
    assert!(read.waypoint.is_some() && read.canonical);
    assert_eq!(read.weighted_waypoints[0].weight, 3);
    assert_eq!(read.load_balancing.mode, BalancingMode::Failover);
    assert_eq!(
        read.load_balancing.routing_preferences,
        [RoutingScope::Network, RoutingScope::Region]
    );
    assert_eq!(read.load_balancing.health_policy, HealthPolicy::AllowAll);
    assert_eq!(read.ip_families, IpFamilies::Dual);
    assert_eq!(read.visibility, Visibility::Namespace);
}

#[test]
fn a_workload_with_a_mistake_is_rejected_with_its_place() {
    type Spoil = fn(&mut proto::Workload);
    let cases: [(Spoil, &str); 11] = [
        (|w| w.uid.clear(), "uid"),
        (|w| w.namespace.clear(), "identity"),
        (|w| w.service_account = "a/b".to_owned(), "identity"),
        (
            |w| w.addresses = vec![Bytes::from_static(b"abc")],
            "addresses",
        ),
        (|w| w.tunnel_protocol = 2, "tunnel_protocol"),
        (|w| w.status = -1, "status"),
        (|w| w.network_mode = 9, "network_mode"),
        (|w| w.waypoint = Some(GatewayAddress::default()), "waypoint"),
        (
            |w| w.authorization_policies = vec!["x".to_owned()],
            "authorization_policies",
        ),
        (
            |w| drop(w.services.insert("x".to_owned(), PortList::default())),
            "services",
        ),
        (
            |w| drop(w.services.insert("a/b".to_owned(), ports(&[(70_000, 1)]))),
            "services",
        ),
    ];
    for (spoil, place) in cases {
        let mut message = small_workload();
        spoil(&mut message);
        let why = workload(message).unwrap_err();
        assert!(why.starts_with(&format!("{place}:")), "{place}: {why}");
    }
}

#[test]
fn a_service_with_a_mistake_is_rejected_with_its_place() {
    type Spoil = fn(&mut proto::Service);
    let cases: [(Spoil, &str); 8] = [
        (|s| s.hostname.clear(), "hostname"),
        (|s| s.namespace.clear(), "namespace"),
        (|s| s.ports = port_messages(&[(0, 1)]), "ports"),
        (|s| s.addresses = vec![at_address(&[1], None)], "addresses"),
        (
            |s| s.addresses = vec![at_address(&[10, 0, 0, 0], Some(33))],
            "addresses",
        ),
        (|s| s.ip_families = 4, "ip_families"),
        (
            |s| s.weighted_waypoints = vec![WeightedWaypoint::default()],
            "weighted_waypoints",
        ),
        (
            |s| {
                s.load_balancing = Some(LoadBalancing {
                    routing_preference: vec![0],
                    ..LoadBalancing::default()
                });
            },
            "load_balancing",
        ),
    ];
    for (spoil, place) in cases {
        let mut message = small_service();
        spoil(&mut message);
        let why = service(message).unwrap_err();
        assert!(why.starts_with(&format!("{place}:")), "{place}: {why}");
    }
}

#[test]
fn what_is_no_address_resource_is_rejected() {
    let interner = &mut Interner::default();
    let mut other = any(ResourceType::Authorization, &small_workload());
    assert!(address(&other, interner).unwrap_err().contains("its type"));
    other.type_url = ResourceType::Address.url().into();
    other.value = Bytes::from_static(&[0xff, 0xff]);
    assert!(address(&other, interner).unwrap_err().contains("decoded"));
    assert!(read_address(None, None).unwrap_err().contains("neither"));
    let both = read_address(Some(small_workload()), Some(small_service()));
    assert!(both.unwrap_err().contains("both"));
}

/// A field that is not known, of each wire type, in front of one that is.
#[test]
fn unknown_fields_are_skipped() {
    let mut bytes = vec![0xfa, 0x3e, 1, b'x', 0xf8, 0x3e, 1, 0xfd, 0x3e, 1, 2, 3, 4];
    let message = Address {
        workload: Some(small_workload()),
        service: None,
    };
    bytes.extend(message.encode_to_vec());
    let any = Any {
        type_url: ResourceType::Address.url().into(),
        value: bytes.into(),
    };
    address(&any, &mut Interner::default()).unwrap();
}

fn authorization(matches: Vec<Match>) -> Authorization {
    let clauses = vec![Clause { matches }];
    Authorization {
        name: "p".to_owned(),
        namespace: "shop".to_owned(),
        scope: 1,
        action: 1,
        rules: vec![Rule { clauses }],
        dry_run: true,
    }
}

fn read_policy(message: &Authorization) -> Result<Policy, PolicyFault> {
    let any = any(ResourceType::Authorization, message);
    policy(&any, &mut Interner::default())
}

fn text(exact: Option<&str>, presence: bool) -> authorization::StringMatch {
    authorization::StringMatch {
        exact: exact.map(ToOwned::to_owned),
        presence: presence.then_some(authorization::Presence {}),
        ..authorization::StringMatch::default()
    }
}

fn account(name: &str) -> authorization::ServiceAccount {
    authorization::ServiceAccount {
        namespace: "shop".to_owned(),
        service_account: name.to_owned(),
    }
}

fn block(address: &'static [u8], length: u32) -> Block {
    Block {
        address: Bytes::from_static(address),
        length,
    }
}

#[test]
fn every_field_of_a_policy_arrives() {
    let prefix = authorization::StringMatch {
        prefix: Some("td/".to_owned()),
        ..authorization::StringMatch::default()
    };
    let suffix = authorization::StringMatch {
        suffix: Some("/sa/x".to_owned()),
        ..authorization::StringMatch::default()
    };
    let read = read_policy(&authorization(vec![Match {
        namespaces: vec![text(Some("a"), false)],
        not_namespaces: vec![text(Some("b"), false)],
        principals: vec![prefix, text(None, true)],
        not_principals: vec![suffix],
        source_ips: vec![block(&[10, 0, 0, 0], 8)],
        not_source_ips: vec![block(&[10, 1, 0, 0], 16)],
        destination_ips: vec![block(
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 2, 0, 0],
            112,
        )],
        not_destination_ips: vec![block(&[10, 3, 0, 1], 32)],
        destination_ports: vec![80],
        not_destination_ports: vec![81],
        service_accounts: vec![account("c")],
        not_service_accounts: vec![account("d")],
    }]))
    .unwrap();
    assert_eq!(read.key(), PolicyKey::new("shop", "p"));
    assert_eq!(
        (read.scope, read.action, read.dry_run),
        (Scope::Namespace, Action::Deny, true)
    );
    let PolicyRules::Valid(rules) = read.rules else {
        panic!("malformed");
    };
    let one = &rules[0].clauses[0].matches[0];
    assert_eq!(one.namespaces, [StringMatch::Exact("a".into())]);
    assert_eq!(one.not_namespaces, [StringMatch::Exact("b".into())]);
    assert_eq!(
        one.principals,
        [StringMatch::Prefix("td/".into()), StringMatch::Presence]
    );
    assert_eq!(one.not_principals, [StringMatch::Suffix("/sa/x".into())]);
    let blocks = [
        &one.source_ips,
        &one.not_source_ips,
        &one.destination_ips,
        &one.not_destination_ips,
    ];
    let blocks = blocks.map(|blocks| blocks[0].to_string());
    assert_eq!(
        blocks,
        ["10.0.0.0/8", "10.1.0.0/16", "10.2.0.0/16", "10.3.0.1/32"]
    );
    assert_eq!(
        (&one.destination_ports[..], &one.not_destination_ports[..]),
        (&[80][..], &[81][..])
    );
    assert_eq!(&*one.service_accounts[0].service_account, "c");
    assert_eq!(&*one.not_service_accounts[0].service_account, "d");
}

#[test]
fn a_policy_with_a_mistake_is_stood_in_for_by_one_that_refuses() {
    let with = |one: Match| authorization(vec![one]);
    let nothing = with(Match {
        not_principals: vec![text(None, false)],
        ..Match::default()
    });
    let bad_block = with(Match {
        source_ips: vec![block(&[10], 8)],
        ..Match::default()
    });
    let bad_port = with(Match {
        destination_ports: vec![65_616],
        ..Match::default()
    });
    let bad_account = with(Match {
        service_accounts: vec![account("")],
        ..Match::default()
    });
    let bad_scope = Authorization {
        scope: 7,
        ..authorization(vec![])
    };
    let bad_action = Authorization {
        action: 2,
        ..authorization(vec![])
    };
    let cases = [
        (nothing, "rules: not_principals:", Scope::Namespace, true),
        (bad_block, "rules: source_ips:", Scope::Namespace, true),
        (
            bad_port,
            "rules: destination_ports: 65616",
            Scope::Namespace,
            true,
        ),
        (
            bad_account,
            "rules: service_accounts:",
            Scope::Namespace,
            true,
        ),
        (bad_scope, "scope:", Scope::Global, true),
        (bad_action, "action:", Scope::Namespace, false),
    ];
    for (message, words, scope, dry_run) in cases {
        let fault = read_policy(&message).unwrap_err();
        let PolicyFault::Malformed { why, stand_in } = fault else {
            panic!("{words}: its name is known");
        };
        assert!(why.starts_with(words), "{words}: {why}");
        assert_eq!(
            (stand_in.scope, stand_in.action),
            (scope, Action::Deny),
            "{words}"
        );
        assert_eq!(stand_in.dry_run, dry_run, "{words}");
        assert!(matches!(stand_in.rules, PolicyRules::Malformed { .. }));
    }
    let nameless = Authorization {
        name: String::new(),
        ..authorization(vec![])
    };
    assert!(matches!(
        read_policy(&nameless),
        Err(PolicyFault::Unknown(_))
    ));
}
