#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};

use super::{Document, PolicyDocument};
use crate::{
    Action, BalancingMode, GatewayDestination, Health, HealthPolicy, Interner, IpFamilies,
    MeshState, NetworkMode, PolicyRules, Protocol, RoutingScope, Scope, ServiceKey, StringMatch,
    TunnelProxying, Visibility, WorkloadType,
};

fn read(document: Value) -> Result<MeshState, Vec<String>> {
    let document: Document =
        serde_json::from_value(document).map_err(|error| vec![error.to_string()])?;
    document
        .into_state()
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

/// Each mistake must start with its place and mention what is wrong.
fn check_mistakes(document: &Value, expected: &[(&str, &str)]) {
    let mistakes = read(document.clone()).expect_err("no mistakes");
    assert_eq!(mistakes.len(), expected.len(), "{document}: {mistakes:#?}");
    for (mistake, (place, what)) in mistakes.iter().zip(expected) {
        assert!(
            mistake.starts_with(place) && mistake.contains(what),
            "{mistake}: {place} {what}"
        );
    }
}

#[test]
fn everything_about_a_workload() {
    let state = read(json!({"workloads": [{
        "uid": "u", "name": "n", "namespace": "ns", "serviceAccount": "sa", "trustDomain": "td",
        "workloadIps": ["10.0.0.1", "::ffff:10.0.0.2", "fd00::1"], "hostname": "host",
        "network": "net", "protocol": "HBONE", "nativeTunnel": true,
        "applicationTunnel": {"protocol": "PROXY", "port": 15088},
        "waypoint": {"destination": "net/10.9.9.9", "hboneMtlsPort": 15009},
        "networkGateway": {"destination": "gns/gate.way"},
        "node": "node", "clusterId": "c", "locality": {"region": "r", "zone": "z", "subzone": "s"},
        "workloadName": "wn", "workloadType": "pod", "canonicalName": "cn",
        "canonicalRevision": "cr", "services": {"ns/web": {"80": 8080}},
        "authorizationPolicies": ["ns/p"], "status": "Unhealthy", "networkMode": "HostNetwork",
        "capacity": 3,
    }]}))
    .unwrap();
    let w = &state.workloads[0];
    assert_eq!(w.identity().to_string(), "spiffe://td/ns/ns/sa/sa");
    let ips: Vec<_> = w.ips.iter().map(ToString::to_string).collect();
    assert_eq!(ips, ["10.0.0.1", "10.0.0.2", "fd00::1"]);
    assert_eq!(
        (&*w.network, w.protocol, w.native_tunnel),
        ("net", Protocol::Hbone, true)
    );
    let tunnel = w.application_tunnel.unwrap();
    assert_eq!(
        (tunnel.proxying, tunnel.port),
        (TunnelProxying::Proxy, Some(15088))
    );
    let waypoint = w.waypoint.as_ref().unwrap();
    assert_eq!(
        (waypoint.destination.to_string(), waypoint.hbone_port),
        ("net/10.9.9.9".into(), 15009)
    );
    let gateway = w.network_gateway.as_ref().unwrap();
    let key = ServiceKey::new("gns", "gate.way");
    assert_eq!(gateway.destination, GatewayDestination::Hostname(key));
    assert_eq!(gateway.hbone_port, 15008);
    assert_eq!(
        (&*w.node, &*w.cluster_id, &*w.locality.zone),
        ("node", "c", "z")
    );
    assert_eq!(
        (&*w.workload_name, w.workload_type),
        ("wn", WorkloadType::Pod)
    );
    assert_eq!((&*w.canonical_name, &*w.canonical_revision), ("cn", "cr"));
    let ports = w.services.get(&ServiceKey::new("ns", "web")).unwrap();
    assert_eq!(ports.target(80), Some(8080));
    assert_eq!(w.authorization_policies[0].to_string(), "ns/p");
    assert_eq!(
        (w.health, w.network_mode),
        (Health::Unhealthy, NetworkMode::HostNetwork)
    );
    assert_eq!((w.capacity, &*w.hostname), (3, "host"));
}

#[test]
fn defaults_of_a_workload() {
    let state = read(json!({"workloads": [{"uid": "u", "name": "n", "namespace": "ns"}]})).unwrap();
    let w = &state.workloads[0];
    assert_eq!(
        w.identity().to_string(),
        "spiffe://cluster.local/ns/ns/sa/default"
    );
    assert_eq!(
        (w.protocol, w.capacity, &*w.cluster_id),
        (Protocol::Tcp, 1, "Kubernetes")
    );
    assert_eq!(
        (w.health, w.network_mode),
        (Health::Healthy, NetworkMode::Standard)
    );
}

#[test]
fn everything_about_a_service() {
    let state = read(json!({"services": [{
        "name": "n", "namespace": "ns", "hostname": "web.ns", "vips": ["net/10.1.0.1", "/fd00::2"],
        "cidrVips": ["net/10.2.0.0/16"], "ports": {"80": 8080, "443": 0},
        "endpoints": {"uid": {"workloadUid": "uid"}},
        "subjectAltNames": ["spiffe://td/ns/a/sa/b", "dns.name"],
        "waypoint": {"destination": "net/10.9.9.9"},
        "weightedWaypoints": [{"destination": {"destination": "ns/w"}, "weight": 2}],
        "loadBalancer": {"mode": "Failover", "routingPreferences": ["NETWORK", "Region"],
                         "healthPolicy": "ALLOW_ALL"},
        "ipFamilies": "IPv6", "canonical": true, "visibility": "Namespace",
    }, {"namespace": "ns", "hostname": "plain"}]}))
    .unwrap();
    let s = &state.services[0];
    let vips: Vec<_> = s.vips.iter().map(ToString::to_string).collect();
    assert_eq!(vips, ["net/10.1.0.1", "/fd00::2"]);
    assert_eq!(s.cidr_vips[0].1.to_string(), "10.2.0.0/16");
    assert_eq!(
        [80, 443, 1].map(|p| s.target(p)),
        [Some(8080), Some(0), None]
    );
    assert_eq!(s.subject_alt_names.len(), 1);
    assert_eq!(s.weighted_waypoints[0].weight, 2);
    assert_eq!(s.load_balancing.mode, BalancingMode::Failover);
    let scopes = [RoutingScope::Network, RoutingScope::Region];
    assert_eq!(s.load_balancing.routing_preferences, scopes);
    assert_eq!(s.load_balancing.health_policy, HealthPolicy::AllowAll);
    assert_eq!((s.ip_families, s.canonical), (IpFamilies::Ipv6Only, true));
    assert_eq!(
        (s.visibility, s.has_waypoint()),
        (Visibility::Namespace, true)
    );
    assert_eq!(
        state.services[1].load_balancing.mode,
        BalancingMode::Standard
    );
}

#[test]
fn everything_about_a_policy() {
    let text = |kind: &str| json!([{kind: "x"}]);
    let state = read(json!({"policies": [{
        "name": "n", "namespace": "ns", "scope": "WorkloadSelector", "action": "Deny",
        "dryRun": true, "rules": [[[{
            "namespaces": text("Exact"), "notNamespaces": text("Prefix"),
            "principals": text("Suffix"), "notPrincipals": [{"Presence": null}, "Presence"],
            "sourceIps": ["10.0.0.0/8", "1.2.3.4"], "notSourceIps": ["::ffff:10.0.0.0/104"],
            "destinationIps": ["fd00::/8"], "notDestinationIps": ["fd00::1"],
            "destinationPorts": [80], "notDestinationPorts": [65535],
            "serviceAccounts": [{"namespace": "a", "serviceAccount": "b"}],
            "notServiceAccounts": [{"namespace": "c", "serviceAccount": "d"}],
        }, {}], []], []],
    }]}))
    .unwrap();
    let p = &state.policies[0];
    assert_eq!(
        (p.scope, p.action, p.dry_run),
        (Scope::WorkloadSelector, Action::Deny, true)
    );
    let PolicyRules::Valid(rules) = &p.rules else {
        panic!("{:?}", p.rules)
    };
    assert_eq!(
        (rules.len(), rules[0].clauses.len(), rules[1].clauses.len()),
        (2, 2, 0)
    );
    let [full, empty] = &*rules[0].clauses[0].matches else {
        panic!("two matches")
    };
    assert!(empty.is_empty() && !full.is_empty());
    assert_eq!(full.namespaces, [StringMatch::Exact("x".into())]);
    assert_eq!(full.not_namespaces, [StringMatch::Prefix("x".into())]);
    assert_eq!(full.principals, [StringMatch::Suffix("x".into())]);
    assert_eq!(
        full.not_principals,
        [StringMatch::Presence, StringMatch::Presence]
    );
    assert_eq!(full.source_ips[1].to_string(), "1.2.3.4/32");
    assert_eq!(full.not_source_ips[0].to_string(), "10.0.0.0/8");
    assert_eq!(full.destination_ips[0].to_string(), "fd00::/8");
    assert_eq!(full.not_destination_ips[0].to_string(), "fd00::1/128");
    assert_eq!(
        (&*full.destination_ports, &*full.not_destination_ports),
        (&[80][..], &[65535][..])
    );
    assert_eq!(&*full.service_accounts[0].service_account, "b");
    assert_eq!(&*full.not_service_accounts[0].namespace, "c");
}

#[test]
fn all_mistakes_are_collected() {
    check_mistakes(
        &json!({
            "workloads": [
                {"uid": "u", "name": "n", "namespace": "ns", "workloadIps": ["10.0.0.1", "x", "1.2.3"],
                 "protocol": "TPC", "status": "Sick", "services": {"noslash": {}},
                 "authorizationPolicies": ["a/b/c"], "waypoint": {"destination": "nowhere"}},
                {"uid": "", "name": "", "namespace": "a/b"},
                {"uid": "u", "name": "n", "namespace": "ns"},
            ],
            "services": [{"namespace": "", "hostname": "h", "vips": ["net/none"],
                          "cidrVips": ["10.0.0.0/8"], "loadBalancer": {"mode": "Best"}}],
            "policies": [{"name": "p", "namespace": "ns", "scope": "Universe", "action": "Audit",
                          "rules": [[[{"sourceIps": ["10.0.0.0/33"], "destinationPorts": [65616, 0],
                                       "notPrincipals": [{}],
                                       "serviceAccounts": [{"namespace": "a"}]}]]]}],
        }),
        &[
            ("workloads[0] (u) workloadIps[1]", "\"x\""),
            ("workloads[0] (u) workloadIps[2]", "\"1.2.3\""),
            ("workloads[0] (u) services", "noslash"),
            ("workloads[0] (u) authorizationPolicies[0]", "a/b/c"),
            ("workloads[0] (u) waypoint", "nowhere"),
            ("workloads[0] (u) protocol", "TPC"),
            ("workloads[0] (u) status", "Sick"),
            ("workloads[1] () uid", "needed"),
            ("workloads[1] () name", "needed"),
            ("workloads[1] () identity", "a/b"),
            ("workloads[2] (u) uid", "entry 0"),
            ("services[0] (h) namespace", "needed"),
            ("services[0] (h) vips[0]", "none"),
            ("services[0] (h) cidrVips[0]", "8"),
            ("services[0] (h) loadBalancer.mode", "Best"),
            ("policies[0] (p) scope", "Universe"),
            ("policies[0] (p) action", "Audit"),
            ("policies[0] (p) rules[0][0][0].notPrincipals[0]", "nothing"),
            ("policies[0] (p) rules[0][0][0].sourceIps[0]", "/33"),
            (
                "policies[0] (p) rules[0][0][0].destinationPorts[0]",
                "65616",
            ),
            ("policies[0] (p) rules[0][0][0].destinationPorts[1]", "0"),
            (
                "policies[0] (p) rules[0][0][0].serviceAccounts[0]",
                "serviceAccount",
            ),
        ],
    );
}

#[test]
fn unknown_fields_are_refused() {
    for wrong in [
        json!({"worklods": []}),
        json!({"workloads": [{"uid": "u", "authorisationPolicies": []}]}),
        json!({"services": [{"vip": []}]}),
        json!({"policies": [{"rule": []}]}),
        json!({"policies": [{"rules": [[[{"notPrincipal": []}]]]}]}),
        json!({"policies": [{"rules": [[[{"principals": [{"Regex": "x"}]}]]]}]}),
        json!({"policies": [{"rules": [[[{"principals": [{"Exact": "x", "Prefix": "y"}]}]]]}]}),
        json!({"workloads": [{"services": {"a/b": {"70000": 1}}}]}),
    ] {
        assert!(
            serde_json::from_value::<Document>(wrong.clone()).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn lenient_policies_refuse_more() {
    let check = |change: Value, scope, action, malformed, dry_run| {
        let mut document = json!({"name": "n", "namespace": "ns", "scope": "Namespace",
            "action": "Allow", "dryRun": true, "rules": []});
        document
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let document: PolicyDocument = serde_json::from_value(document).unwrap();
        let policy = document.to_policy_lenient(&mut Interner::default());
        let is_malformed = matches!(policy.rules, PolicyRules::Malformed { .. });
        let made = (policy.scope, policy.action, is_malformed, policy.dry_run);
        assert_eq!(made, (scope, action, malformed, dry_run), "{change}");
    };
    let bad_rules = json!([[[{"destinationPorts": [0]}]]]);
    check(json!({}), Scope::Namespace, Action::Allow, false, true);
    check(
        json!({"rules": bad_rules}),
        Scope::Namespace,
        Action::Allow,
        true,
        true,
    );
    check(
        json!({"scope": "?"}),
        Scope::Global,
        Action::Allow,
        true,
        true,
    );
    check(
        json!({"action": "?"}),
        Scope::Namespace,
        Action::Deny,
        true,
        false,
    );
}
