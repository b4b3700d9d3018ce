use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tunnel_model::{GatewayAddress, GatewayDestination, Service, Snapshot, Workload};

use crate::RefusalReason;
use crate::balance::PortRule;
use crate::upstream::{Resolved, Upstream, asked, other_network, resolve, resolve_service};

/// The waypoint of a service for this connection: one of several by weight, or the only one.
pub(crate) fn of_service(service: &Service, random: u64) -> Option<&GatewayAddress> {
    let several = &service.weighted_waypoints;
    let total: u64 = several.iter().map(|w| u64::from(w.weight)).sum();
    if total == 0 {
        return service.waypoint.as_ref();
    }
    // The same number also chooses the endpoint; taking it from the other end keeps the two apart.
    let mut left = random.rotate_left(32) % total;
    for weighted in several {
        let weight = u64::from(weighted.weight);
        if left < weight {
            return Some(&weighted.waypoint);
        }
        left -= weight;
    }
    service.waypoint.as_ref()
}

/// The workload of a waypoint to connect to. Never anything but that: a waypoint that cannot be
/// found is a refusal, since going around it would go around what it enforces.
pub(crate) fn resolve_waypoint(
    snapshot: &Snapshot,
    client: &Workload,
    waypoint: &GatewayAddress,
    random: u64,
) -> Result<Upstream, RefusalReason> {
    let port = waypoint.hbone_port;
    let wanted = asked(client, port, PortRule::Waypoint, random);
    let unknown = || RefusalReason::UnknownWaypoint(waypoint.destination.to_string());
    let resolved = match &waypoint.destination {
        GatewayDestination::Address(address) => {
            let target = SocketAddr::new(address.ip, port);
            resolve(snapshot, &address.network, target, &wanted)
        }
        GatewayDestination::Hostname(key) => {
            if let Some(service) = snapshot.service_by_key(key) {
                resolve_service(snapshot, service, &wanted)
            } else {
                let named = snapshot
                    .workload_by_hostname(&key.hostname)
                    .ok_or_else(unknown)?;
                let workload = Arc::clone(named);
                Resolved::Found(Upstream {
                    workload,
                    service: None,
                    port,
                })
            }
        }
    };
    match resolved {
        Resolved::Found(found) if found.workload.network == client.network => Ok(found),
        Resolved::Found(found) => Err(other_network(&found.workload)),
        Resolved::Passthrough(_) | Resolved::Unusable(..) | Resolved::Unknown => Err(unknown()),
    }
}

/// Whether one of a waypoint's workloads answers `is`.
pub(crate) fn any_member(
    snapshot: &Snapshot,
    waypoint: &GatewayAddress,
    namespace: &str,
    is: impl Fn(&Workload) -> bool,
) -> bool {
    let service = match &waypoint.destination {
        GatewayDestination::Hostname(key) => snapshot.service_by_key(key),
        GatewayDestination::Address(address) => {
            snapshot.service_by_vip(&address.network, address.ip, namespace)
        }
    };
    if let Some(service) = service {
        return snapshot
            .endpoints(&service.key())
            .any(|endpoint| is(&endpoint.workload));
    }
    let workload = match &waypoint.destination {
        GatewayDestination::Hostname(key) => snapshot.workload_by_hostname(&key.hostname),
        GatewayDestination::Address(address) => {
            snapshot.workload_by_ip(&address.network, address.ip)
        }
    };
    workload.is_some_and(|workload| is(workload))
}

/// Whether `own` is a waypoint of what an address belongs to.
pub(crate) fn stands_before(
    snapshot: &Snapshot,
    own: &Workload,
    network: &str,
    address: IpAddr,
) -> bool {
    let is_own = |member: &Workload| member.uid == own.uid;
    let before = |waypoint: &GatewayAddress, namespace: &str| {
        any_member(snapshot, waypoint, namespace, is_own)
    };
    let workload = snapshot.workload_by_ip(network, address);
    let of_workload = workload.is_some_and(|workload| {
        workload
            .waypoint
            .as_ref()
            .is_some_and(|waypoint| before(waypoint, &workload.namespace))
    });
    let service = snapshot.service_by_vip(network, address, &own.namespace);
    of_workload
        || service.is_some_and(|service| {
            let several = service
                .weighted_waypoints
                .iter()
                .map(|weighted| &weighted.waypoint);
            let mut all = service.waypoint.iter().chain(several);
            all.any(|waypoint| before(waypoint, &service.namespace))
        })
}
