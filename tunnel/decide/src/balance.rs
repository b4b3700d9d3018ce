use std::net::IpAddr;
use std::sync::Arc;

use tunnel_model::{
    BalancingMode, Endpoint, Health, HealthPolicy, RoutingScope, Service, Snapshot, Workload,
};

/// Which ports of a service count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortRule {
    /// Those the service has.
    Service,
    /// Those, and any at all of an endpoint with an application tunnel.
    Waypoint,
}

/// What is asked of the balancer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) client: &'a Workload,
    pub(crate) port: u16,
    pub(crate) rule: PortRule,
    pub(crate) random: u64,
}

/// Why nothing was chosen.
#[derive(Debug, Clone)]
pub(crate) enum NoEndpoint {
    /// No endpoint may be chosen.
    None,
    /// One might have been, but is known by name only, or has no address of a usable family.
    NoAddress(Arc<Workload>),
    /// One might have been, but is on another network.
    OtherNetwork(Arc<Workload>),
}

/// Chooses an endpoint of a service, and the port of it that serves the one asked for.
///
/// Two passes over the endpoints and nothing allocated: the first finds the best rank and the sum
/// of its weights, the second walks to the chosen one.
pub(crate) fn choose(
    snapshot: &Snapshot,
    service: &Service,
    asked: &Asked<'_>,
) -> Result<(Arc<Workload>, u16), NoEndpoint> {
    let key = service.key();
    let usable = || {
        snapshot
            .endpoints(&key)
            .filter_map(|e| candidate(service, e, asked))
    };
    let (mut best, mut total) = (0, 0_u64);
    for found in usable() {
        if found.rank > best {
            (best, total) = (found.rank, 0);
        }
        if found.rank == best {
            total += u64::from(found.workload.capacity);
        }
    }
    if total == 0 {
        return Err(why_none(snapshot.endpoints(&key), service, asked));
    }
    let mut left = asked.random % total;
    for found in usable().filter(|found| found.rank == best) {
        let weight = u64::from(found.workload.capacity);
        if left < weight {
            return Ok((Arc::clone(found.workload), found.port));
        }
        left -= weight;
    }
    Err(NoEndpoint::None)
}

struct Candidate<'a> {
    workload: &'a Arc<Workload>,
    port: u16,
    rank: usize,
}

fn candidate<'a>(
    service: &Service,
    endpoint: &'a Endpoint,
    asked: &Asked<'_>,
) -> Option<Candidate<'a>> {
    let workload = &endpoint.workload;
    let port = eligible(service, endpoint, asked)?;
    let reachable = workload.network == asked.client.network && has_address(service, workload);
    let rank = rank(service, asked.client, workload)?;
    reachable.then_some(Candidate {
        workload,
        port,
        rank,
    })
}

/// The port of an endpoint that may be chosen as far as health and ports go.
fn eligible(service: &Service, endpoint: &Endpoint, asked: &Asked<'_>) -> Option<u16> {
    let any_health = service.load_balancing.health_policy == HealthPolicy::AllowAll;
    if endpoint.workload.health == Health::Unhealthy && !any_health {
        return None;
    }
    target_port(service, endpoint, asked)
}

fn target_port(service: &Service, endpoint: &Endpoint, asked: &Asked<'_>) -> Option<u16> {
    let declared = service.target(asked.port);
    let tunnel = endpoint.workload.application_tunnel;
    if declared.is_none() && !(asked.rule == PortRule::Waypoint && tunnel.is_some()) {
        return None;
    }
    let given = |port: &u16| *port > 0;
    let mapped = endpoint.ports.target(asked.port).filter(given);
    let own = tunnel.and_then(|tunnel| tunnel.port).map(|_| asked.port);
    mapped.or(declared.filter(given)).or(own)
}

fn has_address(service: &Service, workload: &Workload) -> bool {
    workload
        .ips
        .iter()
        .any(|ip| service.ip_families.accepts(*ip))
}

/// How near an endpoint is; none if it is too far to be chosen at all.
fn rank(service: &Service, client: &Workload, workload: &Workload) -> Option<usize> {
    let scopes = &service.load_balancing.routing_preferences;
    match service.load_balancing.mode {
        BalancingMode::Standard | BalancingMode::Passthrough => Some(0),
        BalancingMode::Strict => scopes
            .iter()
            .all(|scope| same(*scope, client, workload))
            .then_some(0),
        BalancingMode::Failover => Some(failover_rank(scopes, client, workload)),
    }
}

/// The length of the matching prefix of the scopes. A network at their head counts more than all
/// others together, and does not hide the order among endpoints of other networks.
pub(crate) fn failover_rank(
    scopes: &[RoutingScope],
    client: &Workload,
    workload: &Workload,
) -> usize {
    let (network_first, rest) = match scopes {
        [RoutingScope::Network, rest @ ..] => (true, rest),
        all => (false, all),
    };
    let near = rest
        .iter()
        .take_while(|scope| same(**scope, client, workload))
        .count();
    let own_network = network_first && same(RoutingScope::Network, client, workload);
    near + if own_network { scopes.len() } else { 0 }
}

fn same(scope: RoutingScope, a: &Workload, b: &Workload) -> bool {
    match scope {
        RoutingScope::Region => a.locality.region == b.locality.region,
        RoutingScope::Zone => a.locality.zone == b.locality.zone,
        RoutingScope::Subzone => a.locality.subzone == b.locality.subzone,
        RoutingScope::Node => a.node == b.node,
        RoutingScope::Cluster => a.cluster_id == b.cluster_id,
        RoutingScope::Network => a.network == b.network,
    }
}

fn why_none<'a>(
    endpoints: impl Iterator<Item = &'a Endpoint>,
    service: &Service,
    asked: &Asked<'_>,
) -> NoEndpoint {
    let eligible = |endpoint: &&Endpoint| {
        endpoint.workload.capacity > 0
            && eligible(service, endpoint, asked).is_some()
            && rank(service, asked.client, &endpoint.workload).is_some()
    };
    let Some(endpoint) = endpoints.into_iter().find(eligible) else {
        return NoEndpoint::None;
    };
    let workload = Arc::clone(&endpoint.workload);
    if workload.network == asked.client.network {
        NoEndpoint::NoAddress(workload)
    } else {
        NoEndpoint::OtherNetwork(workload)
    }
}

/// The address of a workload to connect to: the one asked for if it is one of its own, else one
/// the service allows, of the same family if there is one.
pub(crate) fn address(
    workload: &Workload,
    service: Option<&Service>,
    asked: IpAddr,
) -> Option<IpAddr> {
    if workload.has_ip(asked) {
        return Some(asked);
    }
    let allowed = |ip: &IpAddr| service.is_none_or(|service| service.ip_families.accepts(*ip));
    let usable = workload.ips.iter().copied().filter(allowed);
    // min_by_key keeps the first of equals.
    usable.min_by_key(|ip| ip.is_ipv4() != asked.is_ipv4())
}
