use std::net::SocketAddr;
use std::sync::Arc;

use tunnel_model::{
    HboneTarget, Identity, NextHop, OriginalDst, Parties, Protocol, Service, Snapshot, SourceAddr,
    Workload,
};

use crate::balance::{PortRule, address};
use crate::upstream::{Resolved, Upstream, asked, other_network, resolve};
use crate::{HBONE_PORT, Occupant, PodRange, Refusal, RefusalReason, is_own_port, waypoint};

/// A connection captured on its way out of a pod.
#[derive(Debug, Clone)]
pub struct OutboundFacts {
    /// The pod's workload.
    pub own: Arc<Workload>,
    /// Where the connection comes from.
    pub source: SourceAddr,
    /// Where the application wanted it to go.
    pub original_dst: OriginalDst,
    /// The network this node is on.
    pub network: Arc<str>,
    /// Chooses among equals.
    pub random: u64,
    /// About which addresses that the mesh does not know somebody can be asked; none if nobody can.
    pub pods: Option<Arc<PodRange>>,
    /// The answer, once there is one.
    pub occupant: Option<Occupant>,
}

/// A way through a tunnel.
#[derive(Debug, Clone)]
pub struct HboneRoute {
    /// Where the tunnel goes.
    pub next_hop: NextHop,
    /// What the stream asks for there.
    pub target: HboneTarget,
    /// Whom the peer may be: any of these and nobody else.
    pub expected: Arc<[Identity]>,
    /// Who is connected.
    pub parties: Parties,
}

/// A way in clear, to what is not in the mesh or takes no tunnels.
#[derive(Debug, Clone)]
pub struct PassthroughRoute {
    /// Where it goes.
    pub next_hop: NextHop,
    /// Who is connected, as far as known.
    pub parties: Parties,
}

/// Where an outbound connection goes.
#[derive(Debug, Clone)]
pub enum OutboundVerdict {
    /// Through a tunnel.
    Hbone(HboneRoute),
    /// In clear.
    Passthrough(PassthroughRoute),
    /// Nowhere.
    Refuse(Refusal),
    /// Nobody knows yet: it is to be asked who is at that address, and decided again.
    Ask,
}

/// Decides where a connection out of a pod goes.
#[must_use]
pub fn outbound(snapshot: &Snapshot, facts: &OutboundFacts) -> OutboundVerdict {
    let target = facts.original_dst.get();
    let own_address = target.ip().is_loopback() || facts.own.has_ip(target.ip());
    if own_address && is_own_port(target.port()) {
        return facts.refuse(RefusalReason::SelfCall(target), None, None);
    }
    if let Some(verdict) = through_service_waypoint(snapshot, facts) {
        return verdict;
    }
    let wanted = asked(&facts.own, target.port(), PortRule::Service, facts.random);
    match resolve(snapshot, &facts.own.network, target, &wanted) {
        Resolved::Found(upstream) => to_workload(snapshot, facts, &upstream),
        Resolved::Passthrough(service) => facts.in_clear(target, None, Some(service)),
        Resolved::Unknown => to_unknown(snapshot, facts, target),
        Resolved::Unusable(service, why) => facts.refuse(why.reason(target), None, Some(service)),
    }
}

/// To an address that the mesh does not know. The control plane may be away or behind, so that is
/// not yet a reason to take it for a stranger's.
fn to_unknown(snapshot: &Snapshot, facts: &OutboundFacts, target: SocketAddr) -> OutboundVerdict {
    let pods = facts.pods.as_ref();
    if !pods.is_some_and(|range| range.may_hold(target.ip())) {
        return facts.in_clear(target, None, None);
    }
    match &facts.occupant {
        None => OutboundVerdict::Ask,
        Some(Occupant::Outsider) => facts.in_clear(target, None, None),
        Some(Occupant::Member(workload)) => {
            let upstream = Upstream {
                workload: Arc::clone(workload),
                service: None,
                port: target.port(),
            };
            to_workload(snapshot, facts, &upstream)
        }
        Some(Occupant::Unknown { why }) => {
            let why = Arc::clone(why);
            let reason = RefusalReason::UnknownOccupant {
                ip: target.ip(),
                why,
            };
            facts.refuse(reason, None, None)
        }
    }
}

/// The way through the waypoint of the service the connection is addressed to, if it has one. A
/// workload that owns the address comes before a service that claims it.
fn through_service_waypoint(snapshot: &Snapshot, facts: &OutboundFacts) -> Option<OutboundVerdict> {
    let ip = facts.original_dst.ip();
    if snapshot.workload_by_ip(&facts.network, ip).is_some() {
        return None;
    }
    let service = snapshot.service_by_vip(&facts.network, ip, &facts.own.namespace)?;
    if !service.has_waypoint() {
        return None;
    }
    let chosen = waypoint::of_service(service, facts.random);
    let resolved = chosen.map_or_else(
        || {
            Err(RefusalReason::UnknownWaypoint(format!(
                "none of {} has a weight",
                service.key()
            )))
        },
        |chosen| waypoint::resolve_waypoint(snapshot, &facts.own, chosen, facts.random),
    );
    Some(match resolved {
        Ok(upstream) => facts.to_waypoint(&upstream, Some(Arc::clone(service))),
        Err(reason) => facts.refuse(reason, None, Some(Arc::clone(service))),
    })
}

fn to_workload(snapshot: &Snapshot, facts: &OutboundFacts, upstream: &Upstream) -> OutboundVerdict {
    let Upstream {
        workload,
        service,
        port,
    } = upstream;
    if workload.network != facts.own.network {
        return facts.refuse(other_network(workload), Some(workload), service.clone());
    }
    // A workload's waypoint is for traffic addressed to the workload; the waypoint itself, asking
    // for what stands behind it, goes straight on.
    if let (None, Some(gateway)) = (service, &workload.waypoint) {
        let is_source = |member: &Workload| {
            member.identity == facts.own.identity && member.has_ip(facts.source.ip())
        };
        if !waypoint::any_member(snapshot, gateway, &workload.namespace, is_source) {
            let resolved = waypoint::resolve_waypoint(snapshot, &facts.own, gateway, facts.random);
            return match resolved {
                Ok(waypoint) => facts.to_waypoint(&waypoint, None),
                Err(reason) => facts.refuse(reason, Some(workload), None),
            };
        }
    }
    let Some(ip) = address(workload, service.as_deref(), facts.original_dst.ip()) else {
        let reason = RefusalReason::NoAddress(workload.uid.to_string());
        return facts.refuse(reason, Some(workload), service.clone());
    };
    let target = SocketAddr::new(ip, *port);
    match workload.protocol {
        Protocol::Tcp => facts.in_clear(target, Some(workload), service.clone()),
        Protocol::Hbone => OutboundVerdict::Hbone(HboneRoute {
            next_hop: NextHop::new(SocketAddr::new(ip, HBONE_PORT)),
            target: HboneTarget::new(target),
            expected: upstream.expected(),
            parties: facts.parties(Some(workload), service.clone()),
        }),
    }
}

impl OutboundFacts {
    fn parties(
        &self,
        destination: Option<&Arc<Workload>>,
        service: Option<Arc<Service>>,
    ) -> Parties {
        let destination = destination.cloned();
        Parties {
            source: Some(Arc::clone(&self.own)),
            destination,
            service,
        }
    }

    fn refuse(
        &self,
        reason: RefusalReason,
        destination: Option<&Arc<Workload>>,
        service: Option<Arc<Service>>,
    ) -> OutboundVerdict {
        OutboundVerdict::Refuse(Refusal::new(reason, self.parties(destination, service)))
    }

    fn in_clear(
        &self,
        target: SocketAddr,
        destination: Option<&Arc<Workload>>,
        service: Option<Arc<Service>>,
    ) -> OutboundVerdict {
        OutboundVerdict::Passthrough(PassthroughRoute {
            next_hop: NextHop::new(target),
            parties: self.parties(destination, service),
        })
    }

    /// The stream asks the waypoint for what the application asked for, untranslated.
    fn to_waypoint(&self, upstream: &Upstream, service: Option<Arc<Service>>) -> OutboundVerdict {
        let workload = &upstream.workload;
        let asked = self.original_dst.ip();
        let Some(ip) = address(workload, upstream.service.as_deref(), asked) else {
            let reason = RefusalReason::NoAddress(workload.uid.to_string());
            return self.refuse(reason, Some(workload), service);
        };
        OutboundVerdict::Hbone(HboneRoute {
            next_hop: NextHop::new(SocketAddr::new(ip, upstream.port)),
            target: HboneTarget::new(self.original_dst.get()),
            expected: upstream.expected(),
            parties: self.parties(Some(workload), service),
        })
    }
}
