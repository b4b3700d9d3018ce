use crate::{
    BalancingMode, HealthPolicy, Identity, Interner, IpFamilies, LoadBalancing, RoutingScope,
    Service, ServicePort, Visibility, WeightedWaypoint,
};

use super::mistake::Mistakes;
use super::parse;
use super::shape::{LoadBalancerDocument, Port, ServiceDocument};
use super::workload::gateway;

const MODES: &[(&str, BalancingMode)] = &[
    ("Standard", BalancingMode::Standard),
    ("UnspecifiedMode", BalancingMode::Standard),
    ("Strict", BalancingMode::Strict),
    ("Failover", BalancingMode::Failover),
    ("Passthrough", BalancingMode::Passthrough),
];
const SCOPES: &[(&str, RoutingScope)] = &[
    ("Region", RoutingScope::Region),
    ("Zone", RoutingScope::Zone),
    ("Subzone", RoutingScope::Subzone),
    ("Node", RoutingScope::Node),
    ("Cluster", RoutingScope::Cluster),
    ("Network", RoutingScope::Network),
];
const HEALTH_POLICIES: &[(&str, HealthPolicy)] = &[
    ("OnlyHealthy", HealthPolicy::OnlyHealthy),
    ("AllowAll", HealthPolicy::AllowAll),
];
const FAMILIES: &[(&str, IpFamilies)] = &[
    ("Automatic", IpFamilies::Automatic),
    ("IPv4", IpFamilies::Ipv4Only),
    ("IPv4Only", IpFamilies::Ipv4Only),
    ("IPv6", IpFamilies::Ipv6Only),
    ("IPv6Only", IpFamilies::Ipv6Only),
    ("Dual", IpFamilies::Dual),
];
const VISIBILITIES: &[(&str, Visibility)] = &[
    ("Public", Visibility::Public),
    ("Namespace", Visibility::Namespace),
];

/// The service a document entry describes, with its mistakes noted.
pub(super) fn read(
    document: &ServiceDocument,
    interner: &mut Interner,
    mistakes: &mut Mistakes<'_>,
) -> Service {
    for (field, value) in [
        ("namespace", &document.namespace),
        ("hostname", &document.hostname),
    ] {
        if value.is_empty() {
            mistakes.add(field, "is needed");
        }
    }
    let ports = document.ports.iter();
    let ip_families = parse::optional_word(document.ip_families.as_deref(), FAMILIES);
    let visibility = parse::optional_word(document.visibility.as_deref(), VISIBILITIES);
    let blocks = document.cidr_vips.as_deref().unwrap_or_default();
    Service {
        name: interner.text(&document.name),
        namespace: interner.text(&document.namespace),
        hostname: interner.text(&document.hostname),
        vips: mistakes.each("vips", &document.vips, |text| {
            parse::network_address(text, interner)
        }),
        cidr_vips: mistakes.each("cidrVips", blocks, |text| {
            parse::network_block(text, interner)
        }),
        ports: ports
            .map(|(Port(port), target)| ServicePort {
                port: *port,
                target: *target,
            })
            .collect(),
        subject_alt_names: identities(document.subject_alt_names.as_deref().unwrap_or_default()),
        waypoint: gateway("waypoint", document.waypoint.as_ref(), interner, mistakes),
        weighted_waypoints: weighted(document, interner, mistakes),
        load_balancing: document
            .load_balancer
            .as_ref()
            .map(|balancer| load_balancing(balancer, mistakes))
            .unwrap_or_default(),
        ip_families: mistakes.take("ipFamilies", ip_families),
        canonical: document.canonical,
        visibility: mistakes.take("visibility", visibility),
    }
}

/// A name that is not a workload identity is no mistake (a service outside the mesh may have DNS
/// names) but no peer of the mesh can show it either.
fn identities(names: &[String]) -> Vec<Identity> {
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

fn weighted(
    document: &ServiceDocument,
    interner: &mut Interner,
    mistakes: &mut Mistakes<'_>,
) -> Vec<WeightedWaypoint> {
    let several = document.weighted_waypoints.as_deref().unwrap_or_default();
    mistakes.each("weightedWaypoints", several, |one| {
        let waypoint = parse::gateway(&one.destination, interner)?;
        Ok(WeightedWaypoint {
            waypoint,
            weight: one.weight,
        })
    })
}

fn load_balancing(document: &LoadBalancerDocument, mistakes: &mut Mistakes<'_>) -> LoadBalancing {
    let mode = parse::optional_word(document.mode.as_deref(), MODES);
    let health_policy = parse::optional_word(document.health_policy.as_deref(), HEALTH_POLICIES);
    let scopes = document.routing_preferences.as_deref().unwrap_or_default();
    LoadBalancing {
        mode: mistakes.take("loadBalancer.mode", mode),
        routing_preferences: mistakes.each("loadBalancer.routingPreferences", scopes, |text| {
            parse::word(text, SCOPES)
        }),
        health_policy: mistakes.take("loadBalancer.healthPolicy", health_policy),
    }
}
