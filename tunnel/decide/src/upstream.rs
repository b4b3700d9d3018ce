use std::net::SocketAddr;
use std::sync::Arc;

use tunnel_model::{BalancingMode, Identity, Service, Snapshot, Workload};

use crate::RefusalReason;
use crate::balance::{self, Asked, NoEndpoint, PortRule};

/// A workload to connect to, and how it was found.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    pub(crate) workload: Arc<Workload>,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) port: u16,
}

impl Upstream {
    /// Whom to expect there: the workload, or whom the service says may stand in.
    pub(crate) fn expected(&self) -> Arc<[Identity]> {
        let own = std::iter::once(self.workload.identity.clone());
        match &self.service {
            Some(service) if !service.subject_alt_names.is_empty() => own
                .chain(service.subject_alt_names.iter().cloned())
                .collect(),
            _ => Arc::from([self.workload.identity.clone()]),
        }
    }
}

/// What an address leads to.
#[derive(Debug)]
pub(crate) enum Resolved {
    /// To a workload.
    Found(Upstream),
    /// To a service that leaves connections alone.
    Passthrough(Arc<Service>),
    /// To a service none of whose endpoints can be used.
    Unusable(Arc<Service>, NoEndpoint),
    /// To nothing the mesh knows.
    Unknown,
}

/// Resolves an address on a network, services before workloads.
pub(crate) fn resolve(
    snapshot: &Snapshot,
    network: &str,
    target: SocketAddr,
    asked: &Asked<'_>,
) -> Resolved {
    let by_address = || {
        let workload = Arc::clone(snapshot.workload_by_ip(network, target.ip())?);
        Some(Upstream {
            workload,
            service: None,
            port: target.port(),
        })
    };
    let Some(service) = snapshot.service_by_vip(network, target.ip(), &asked.client.namespace)
    else {
        return by_address().map_or(Resolved::Unknown, Resolved::Found);
    };
    if service.load_balancing.mode == BalancingMode::Passthrough {
        // A service may leave an address alone that is a workload of the mesh; traffic to that
        // workload is protected all the same.
        return by_address().map_or_else(
            || Resolved::Passthrough(Arc::clone(service)),
            Resolved::Found,
        );
    }
    resolve_service(snapshot, service, asked)
}

/// Chooses an endpoint of a service.
pub(crate) fn resolve_service(
    snapshot: &Snapshot,
    service: &Arc<Service>,
    asked: &Asked<'_>,
) -> Resolved {
    match balance::choose(snapshot, service, asked) {
        Ok((workload, port)) => Resolved::Found(Upstream {
            workload,
            service: Some(Arc::clone(service)),
            port,
        }),
        Err(why) => Resolved::Unusable(Arc::clone(service), why),
    }
}

impl NoEndpoint {
    pub(crate) fn reason(&self, target: SocketAddr) -> RefusalReason {
        match self {
            Self::None => RefusalReason::NoHealthyUpstream(target),
            Self::NoAddress(workload) => RefusalReason::NoAddress(workload.uid.to_string()),
            Self::OtherNetwork(workload) => other_network(workload),
        }
    }
}

pub(crate) fn other_network(workload: &Workload) -> RefusalReason {
    RefusalReason::OtherNetwork {
        name: workload.uid.to_string(),
        network: workload.network.to_string(),
    }
}

pub(crate) fn asked(client: &Workload, port: u16, rule: PortRule, random: u64) -> Asked<'_> {
    Asked {
        client,
        port,
        rule,
        random,
    }
}
