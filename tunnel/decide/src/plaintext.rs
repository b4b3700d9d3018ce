use std::sync::Arc;

use tunnel_model::{NextHop, OriginalDst, Parties, Snapshot, SourceAddr, Workload};

use crate::inbound::{InboundVerdict, Judge, serving};
use crate::{Refusal, RefusalReason, is_own_port, policy};

/// A connection that came into a pod in clear.
#[derive(Debug, Clone)]
pub struct PlaintextFacts {
    /// The pod's workload.
    pub own: Arc<Workload>,
    /// Where the connection comes from.
    pub source: SourceAddr,
    /// Where it was going.
    pub original_dst: OriginalDst,
    /// The network this node is on.
    pub network: Arc<str>,
    /// The namespace whose policies may select pods of every namespace.
    pub root_namespace: Arc<str>,
}

/// Decides about a connection that came in clear. It has no identity, whoever its address is said
/// to belong to.
#[must_use]
pub fn inbound_plaintext(snapshot: &Snapshot, facts: &PlaintextFacts) -> InboundVerdict {
    let own = policy::current(snapshot, &facts.own);
    let port = facts.original_dst.port();
    let parties = Parties {
        source: snapshot
            .workload_by_ip(&facts.network, facts.source.ip())
            .cloned(),
        destination: Some(Arc::clone(&facts.own)),
        service: serving(snapshot, own, port).cloned(),
    };
    let refuse = |reason, parties| InboundVerdict::Refuse(Refusal::new(reason, parties));
    // What listens on loopback is not meant for others, and would be reached from inside the pod.
    let ip = facts.original_dst.ip().to_canonical();
    if ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
        return refuse(RefusalReason::NotFromOutside(ip), parties);
    }
    if is_own_port(port) {
        let reason = RefusalReason::SelfCall(facts.original_dst.get());
        return refuse(reason, parties);
    }
    let next_hop = NextHop::new(facts.original_dst.get());
    let judge = Judge {
        snapshot,
        own,
        root_namespace: &facts.root_namespace,
    };
    judge.verdict(None, facts.source, next_hop, parties)
}
