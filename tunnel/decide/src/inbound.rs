use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tunnel_model::{
    Identity, NextHop, Parties, Service, Snapshot, SourceAddr, TunnelProxying, Workload,
};

use crate::policy::{self, AllowedBy, DryRun, PolicyFacts, PolicyVerdict};
use crate::{Authority, Host, InForce, Missing, Refusal, RefusalReason, is_own_port, waypoint};

/// A stream that arrived through a tunnel.
#[derive(Debug, Clone)]
pub struct InboundFacts<'a> {
    /// The pod's workload.
    pub own: Arc<Workload>,
    /// Where the tunnel comes from.
    pub source: SourceAddr,
    /// The address the tunnel was made to.
    pub connection_dst: IpAddr,
    /// Whom the peer's certificate names.
    pub peer: Identity,
    /// What the stream asks for, as received.
    pub authority: &'a str,
    /// The network this node is on.
    pub network: Arc<str>,
    /// The namespace whose policies may select pods of every namespace.
    pub root_namespace: Arc<str>,
}

/// What becomes of an inbound connection.
#[derive(Debug, Clone)]
pub enum InboundVerdict {
    /// It is handed to the application.
    Deliver {
        /// Where the application listens.
        next_hop: NextHop,
        /// Who is connected.
        parties: Parties,
        /// Who let it through.
        by: AllowedBy,
        /// What policies that only warn have to say.
        dry_run: Vec<DryRun>,
    },
    /// It is not.
    Refuse(Refusal),
}

/// Decides about a stream that arrived through a tunnel.
#[must_use]
pub fn inbound_hbone(snapshot: &Snapshot, facts: &InboundFacts<'_>) -> InboundVerdict {
    let own = policy::current(snapshot, &facts.own);
    let source = snapshot.workload_by_ip(&facts.network, facts.source.ip());
    let mut parties = Parties {
        source: source.cloned(),
        destination: Some(Arc::clone(&facts.own)),
        service: None,
    };
    let refuse = |reason, parties| InboundVerdict::Refuse(Refusal::new(reason, parties));
    let (port, service) = match destination(snapshot, own, facts) {
        Ok(found) => found,
        Err(reason) => return refuse(reason, parties),
    };
    parties.service = service.or_else(|| serving(snapshot, own, port)).cloned();
    if let Some(owner) = source.filter(|owner| owner.identity != facts.peer) {
        let reason = RefusalReason::PeerIdentity {
            source_ip: facts.source.ip(),
            owner: owner.identity.clone(),
            peer: facts.peer.clone(),
        };
        return refuse(reason, parties);
    }
    let next_hop = SocketAddr::new(facts.connection_dst, port);
    let judge = Judge {
        snapshot,
        own,
        root_namespace: &facts.root_namespace,
    };
    let next_hop = NextHop::new(next_hop);
    judge.verdict(Some(&facts.peer), facts.source, next_hop, parties)
}

/// Asks the policies, the last step of both ways in.
pub(crate) struct Judge<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) own: &'a Workload,
    pub(crate) root_namespace: &'a str,
}

impl Judge<'_> {
    pub(crate) fn verdict(
        &self,
        identity: Option<&Identity>,
        source: SourceAddr,
        next_hop: NextHop,
        parties: Parties,
    ) -> InboundVerdict {
        let asked = PolicyFacts {
            identity,
            source_ip: source.ip(),
            destination_ip: next_hop.ip(),
            destination_port: next_hop.port(),
        };
        match self.policies(&asked) {
            PolicyVerdict::Allow { by, dry_run } => InboundVerdict::Deliver {
                next_hop,
                parties,
                by,
                dry_run,
            },
            PolicyVerdict::Deny { reason, .. } => {
                InboundVerdict::Refuse(Refusal::new(reason, parties))
            }
        }
    }

    /// Which policies apply is known of workloads that discovery has told of.
    fn policies(&self, asked: &PolicyFacts<'_>) -> PolicyVerdict {
        let Self { snapshot, own, .. } = self;
        if snapshot.is_discovered(&own.uid) {
            return policy::evaluate(snapshot, own, asked);
        }
        let dry_run = Vec::new();
        let in_force = InForce::untold(snapshot, own, self.root_namespace);
        match in_force.verdict(asked, Missing::Refuse) {
            Ok(by) => PolicyVerdict::Allow { by, dry_run },
            Err(reason) => PolicyVerdict::Deny { reason, dry_run },
        }
    }
}

/// The pod's port a stream is for, and the service if it asks for one by name.
fn destination<'a>(
    snapshot: &'a Snapshot,
    own: &Workload,
    facts: &InboundFacts<'_>,
) -> Result<(u16, Option<&'a Arc<Service>>), RefusalReason> {
    let authority = Authority::parse(facts.authority).ok_or_else(|| {
        RefusalReason::InvalidAuthority(facts.authority.chars().take(300).collect())
    })?;
    let (port, service) = match authority.host {
        Host::Ip(ip) => {
            check_address(snapshot, own, facts, ip)?;
            (authority.port, None)
        }
        Host::Name(name) => named_port(snapshot, own, name, authority.port)?,
    };
    let port = match own.application_tunnel {
        None => port,
        Some(tunnel) if tunnel.proxying == TunnelProxying::None => tunnel.port.unwrap_or(port),
        Some(_) => return Err(RefusalReason::ApplicationTunnel),
    };
    if is_own_port(port) {
        let next_hop = SocketAddr::new(facts.connection_dst.to_canonical(), port);
        return Err(RefusalReason::SelfCall(next_hop));
    }
    Ok((port, service))
}

/// A stream must be for the address the tunnel was made to, or for something this pod is the
/// waypoint of: otherwise a pod could be used to reach what the peer may not reach itself.
fn check_address(
    snapshot: &Snapshot,
    own: &Workload,
    facts: &InboundFacts<'_>,
    asked: IpAddr,
) -> Result<(), RefusalReason> {
    let connection = facts.connection_dst.to_canonical();
    let accepted = asked == connection
        || own.application_tunnel.is_some()
        || waypoint::stands_before(snapshot, own, &facts.network, asked);
    if accepted {
        Ok(())
    } else {
        Err(RefusalReason::IpMismatch {
            connection,
            authority: asked,
        })
    }
}

/// The pod's port behind a service's: as the pod maps it, else as the service says.
fn named_port<'a>(
    snapshot: &'a Snapshot,
    own: &Workload,
    name: &str,
    port: u16,
) -> Result<(u16, Option<&'a Arc<Service>>), RefusalReason> {
    let service = snapshot
        .service_by_host(name, &own.namespace)
        .ok_or_else(|| RefusalReason::UnknownHost(name.to_owned()))?;
    let mapped = own
        .services
        .get(&service.key())
        .and_then(|ports| ports.target(port));
    let target = mapped
        .or_else(|| service.target(port))
        .filter(|target| *target > 0);
    let target = target.ok_or_else(|| RefusalReason::ServicePort {
        service: service.key().to_string(),
        port,
    })?;
    Ok((target, Some(service)))
}

/// The first of the workload's services that this port serves, for the log and metrics.
pub(crate) fn serving<'a>(
    snapshot: &'a Snapshot,
    own: &Workload,
    port: u16,
) -> Option<&'a Arc<Service>> {
    own.services.iter().find_map(|(key, ports)| {
        let service = snapshot.service_by_key(key)?;
        let mapped = ports.iter().any(|(_, target)| target == port);
        let declared = || service.ports.iter().any(|declared| declared.target == port);
        (mapped || declared()).then_some(service)
    })
}
