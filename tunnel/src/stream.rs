//! Connections that arrive in a peer's tunnel.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use tunnel_decide::{InboundFacts, InboundVerdict};
use tunnel_hbone::{Asked, Incoming, Pump};
use tunnel_model::{NextHop, Parties, ResponseFlag, Snapshot, Workload};
use tunnel_telemetry::{Connection, ConnectionStart, Direction, EarlyRefusal, Outcome, Security};

use crate::application::connect_app;
use crate::flow::{Flow, Inward};
use crate::inbound::Peer;
use crate::outbound::refused;
use crate::pod::{Admission, NOT_DISCOVERED, Pod};
use crate::standing::{Client, Standing, Watched};

/// Serves one stream to its end; `id` is its number among the pod's.
pub(crate) async fn serve(pod: Rc<Pod>, peer: Rc<Peer>, incoming: Incoming, id: u64) {
    if let Some(flow) = Box::pin(set_up(pod, peer, incoming, id)).await {
        flow.await;
    }
}

async fn set_up(pod: Rc<Pod>, peer: Rc<Peer>, incoming: Incoming, id: u64) -> Option<Flow<Inward>> {
    let started = Instant::now();
    let decided = match decide(&pod, &peer, &incoming.asked).await {
        Ok(decided) => decided,
        Err(status) => {
            incoming.refuse(status);
            return None;
        }
    };
    match decided.verdict {
        InboundVerdict::Deliver {
            next_hop,
            parties,
            dry_run,
            by: _,
        } => {
            report_dry_run(&pod, &dry_run);
            let connection = open(&pod, &peer, next_hop, parties, started);
            let standing = Standing::new(Client::Peer(Rc::clone(&peer)), next_hop);
            let by = (&*decided.snapshot, &decided.own);
            pod.stand(&pod.live.streams, id, &standing, by);
            let connection = Watched::new(connection, standing);
            deliver(&pod, &peer, next_hop, connection, &decided.own, incoming).await
        }
        InboundVerdict::Refuse(refusal) => {
            let named = incoming.asked.authority.parse().ok();
            let to = NextHop::new(named.unwrap_or(peer.called));
            let connection = open(&pod, &peer, to, refusal.parties.clone(), started);
            connection.finish(Instant::now(), &refused(&refusal));
            let status = StatusCode::from_u16(refusal.http_status());
            incoming.refuse(status.unwrap_or(StatusCode::FORBIDDEN));
            None
        }
    }
}

/// What happens to the stream, or the status of a request that is not to be decided on.
async fn decide(pod: &Rc<Pod>, peer: &Peer, asked: &Asked) -> Result<Admission, StatusCode> {
    if let Some(method) = &asked.other_method {
        let error = format!("method {method} is not CONNECT");
        early(pod, peer, "not_connect", &error);
        return Err(StatusCode::BAD_REQUEST);
    }
    let judge = |snapshot: &Snapshot, own: &Arc<Workload>| {
        let facts = InboundFacts {
            own: Arc::clone(own),
            source: peer.address,
            connection_dst: peer.called.ip(),
            peer: peer.identity.clone(),
            authority: &asked.authority,
            network: Arc::clone(&pod.context.settings.network),
            root_namespace: pod.root_namespace(),
        };
        tunnel_decide::inbound_hbone(snapshot, &facts)
    };
    pod.own_judged(judge).await.ok_or_else(|| {
        early(pod, peer, "unknown_destination", &NOT_DISCOVERED);
        StatusCode::SERVICE_UNAVAILABLE
    })
}

async fn deliver(
    pod: &Rc<Pod>,
    peer: &Peer,
    to: NextHop,
    connection: Watched,
    own: &Arc<Workload>,
    incoming: Incoming,
) -> Option<Flow<Inward>> {
    let failed = |connection: Watched, error: String| {
        let outcome = Outcome::Failed {
            flag: ResponseFlag::Connect,
            error,
        };
        connection.finish(&outcome);
    };
    let app = match connect_app(pod, peer.address.get(), to).await {
        Ok(app) => app,
        Err(error) => {
            failed(connection, error);
            incoming.refuse(StatusCode::SERVICE_UNAVAILABLE);
            return None;
        }
    };
    let Ok(accepted) = incoming.accept(pod.baggage.of(own).as_ref()) else {
        failed(
            connection,
            "the peer gave up before the application answered".to_owned(),
        );
        return None;
    };
    let pump = Pump::serve(app, accepted, Inward(connection));
    Some(Flow::Tunnel(pump))
}

fn early(pod: &Pod, peer: &Peer, reason: &'static str, error: &dyn std::fmt::Display) {
    let refusal = EarlyRefusal {
        reason,
        error,
        decided_by: "protocol",
    };
    let telemetry = &pod.context.parts.telemetry;
    telemetry.early_refusal(
        Direction::Inbound,
        peer.address.get(),
        peer.called,
        &refusal,
    );
}

fn open(pod: &Pod, peer: &Peer, to: NextHop, parties: Parties, started: Instant) -> Connection {
    pod.context.parts.telemetry.connection(&ConnectionStart {
        direction: Direction::Inbound,
        source: peer.address.get(),
        destination: to.get(),
        hbone_target: Some(peer.called),
        parties,
        source_identity: Some(peer.identity.clone()),
        destination_identity: Some(pod.facts.identity.clone()),
        security: Security::MutualTls,
        started,
    })
}

/// Policies on trial only speak; what they say is for the operator who tries them.
pub(crate) fn report_dry_run(pod: &Pod, said: &[tunnel_decide::DryRun]) {
    for trial in said {
        tracing::info!(pod = %pod.facts.uid, policy = ?trial, "a policy in dry run would have decided");
    }
}
