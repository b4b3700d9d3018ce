use tunnel_model::{
    BalancingMode, HealthPolicy, Interner, IpFamilies, LoadBalancing, RoutingScope, Service,
    ServicePort, Visibility, WeightedWaypoint,
};

use super::parts::{self, at, one_of};
use crate::xds::proto::workload as proto;

const MODES: &[BalancingMode] = &[
    BalancingMode::Standard,
    BalancingMode::Strict,
    BalancingMode::Failover,
    BalancingMode::Passthrough,
];
/// The protocol counts from 1.
const SCOPES: &[RoutingScope] = &[
    RoutingScope::Region,
    RoutingScope::Zone,
    RoutingScope::Subzone,
    RoutingScope::Node,
    RoutingScope::Cluster,
    RoutingScope::Network,
];
const HEALTH_POLICIES: &[HealthPolicy] = &[HealthPolicy::OnlyHealthy, HealthPolicy::AllowAll];
const FAMILIES: &[IpFamilies] = &[
    IpFamilies::Automatic,
    IpFamilies::Ipv4Only,
    IpFamilies::Ipv6Only,
    IpFamilies::Dual,
];
const VISIBILITIES: &[Visibility] = &[Visibility::Public, Visibility::Namespace];

pub(super) fn read(message: &proto::Service, interner: &mut Interner) -> Result<Service, String> {
    for (field, value) in [
        ("namespace", &message.namespace),
        ("hostname", &message.hostname),
    ] {
        if value.is_empty() {
            return Err(format!("{field}: is needed"));
        }
    }
    let mut service = Service {
        name: interner.text(&message.name),
        namespace: interner.text(&message.namespace),
        hostname: interner.text(&message.hostname),
        vips: Vec::new(),
        cidr_vips: Vec::new(),
        ports: at("ports", ports(message))?,
        // A name that is no workload identity is no mistake (a service outside the mesh may have
        // DNS names) but no peer of the mesh can show it either.
        subject_alt_names: (message.subject_alt_names.iter())
            .filter_map(|name| name.parse().ok())
            .collect(),
        waypoint: at(
            "waypoint",
            parts::gateway(message.waypoint.as_ref(), interner),
        )?,
        weighted_waypoints: at("weighted_waypoints", weighted(message, interner))?,
        load_balancing: at("load_balancing", load_balancing(message))?,
        ip_families: at("ip_families", one_of(FAMILIES, message.ip_families))?,
        canonical: message.canonical,
        // As upstream: what is not known yet hides nothing.
        visibility: one_of(VISIBILITIES, message.visibility).unwrap_or_default(),
    };
    at("addresses", addresses(message, &mut service, interner))?;
    Ok(service)
}

/// An address with a length is a block of addresses.
fn addresses(
    message: &proto::Service,
    service: &mut Service,
    interner: &mut Interner,
) -> Result<(), String> {
    for address in &message.addresses {
        match address.length {
            None => service
                .vips
                .push(parts::network_address(address, interner)?),
            Some(length) => {
                let block = parts::block(&address.address, length)?;
                let network = interner.text(&address.network);
                service.cidr_vips.push((network, block));
            }
        }
    }
    Ok(())
}

fn ports(message: &proto::Service) -> Result<Vec<ServicePort>, String> {
    let ports = message.ports.iter().map(|port| {
        Ok(ServicePort {
            port: parts::port(port.service_port)?,
            target: parts::port_or_none(port.target_port)?,
        })
    });
    ports.collect()
}

fn weighted(
    message: &proto::Service,
    interner: &mut Interner,
) -> Result<Vec<WeightedWaypoint>, String> {
    let several = message.weighted_waypoints.iter().map(|one| {
        let waypoint = parts::gateway(one.destination.as_ref(), interner)?
            .ok_or_else(|| "a destination is needed".to_owned())?;
        Ok(WeightedWaypoint {
            waypoint,
            weight: one.weight,
        })
    });
    several.collect()
}

fn load_balancing(message: &proto::Service) -> Result<LoadBalancing, String> {
    let Some(balancing) = &message.load_balancing else {
        return Ok(LoadBalancing::default());
    };
    let scopes = balancing.routing_preference.iter();
    Ok(LoadBalancing {
        mode: at("mode", one_of(MODES, balancing.mode))?,
        routing_preferences: scopes
            .map(|scope| {
                at(
                    "routing_preference",
                    one_of(SCOPES, scope.saturating_sub(1)),
                )
            })
            .collect::<Result<_, _>>()?,
        health_policy: at(
            "health_policy",
            one_of(HEALTH_POLICIES, balancing.health_policy),
        )?,
    })
}
