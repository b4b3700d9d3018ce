//! Connections that a pod makes (15001).

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tunnel_decide::{HboneRoute, OutboundFacts, OutboundVerdict, PassthroughRoute, Refusal};
use tunnel_hbone::{AppStream, Pump, Relay};
use tunnel_model::{OriginalDst, ResponseFlag, SourceAddr};
use tunnel_sockets::original_destination;
use tunnel_telemetry::{ConnectionStart, Direction, Outcome, Security};

use crate::flow::Outward;
use crate::occupants;
use crate::pod::Pod;
use crate::pool::PoolKey;
use crate::resend::{Carried, Errand, Outgoing};
use crate::tunnels::{self, flag_of};

/// Serves one connection to its end.
pub(crate) async fn serve(pod: Rc<Pod>, app: AppStream, peer: SocketAddr) {
    // Boxed, so that a connection which lives long does not carry what it took to set it up.
    if let Some(outgoing) = Box::pin(set_up(pod, app, peer)).await {
        outgoing.await;
    }
}

async fn set_up(pod: Rc<Pod>, app: AppStream, peer: SocketAddr) -> Option<Outgoing> {
    let started = Instant::now();
    let Ok(original) = original_destination(&app) else {
        pod.refuse_early(
            Direction::Outbound,
            app.get(),
            peer,
            "not_redirected",
            &"connection to the tunnel's own port 15001",
        );
        return None;
    };
    let original_dst = OriginalDst::new(original);
    let Some((snapshot, own)) = pod.own().await else {
        let error = format!(
            "unknown source workload {}/{}: not in the mesh's state yet",
            pod.facts.namespace, pod.facts.name
        );
        pod.refuse_early(
            Direction::Outbound,
            app.get(),
            peer,
            "unknown_source",
            &error,
        );
        return None;
    };
    let occupants = pod.context.parts.occupants.as_ref();
    let mut facts = OutboundFacts {
        own,
        source: SourceAddr::new(peer),
        original_dst,
        network: Arc::clone(&pod.context.settings.network),
        random: pod.context.random(),
        pods: occupants.map(|occupants| Arc::clone(&occupants.range)),
        occupant: None,
    };
    let mut verdict = tunnel_decide::outbound(&snapshot, &facts);
    drop(snapshot);
    if let (OutboundVerdict::Ask, Some(occupants)) = (&verdict, occupants) {
        // Boxed: nearly nobody has to wait for this.
        verdict = Box::pin(occupants::decide(&pod.context, occupants, &mut facts)).await;
    }
    match verdict {
        OutboundVerdict::Hbone(route) => through_tunnel(pod, app, &facts, route, started).await,
        OutboundVerdict::Passthrough(route) => pass(pod, app, peer, route, started).await,
        OutboundVerdict::Refuse(refusal) => {
            refuse(&pod, &facts, &refusal, started);
            None
        }
        OutboundVerdict::Ask => {
            // It has been where that is possible, and has no other answer twice.
            let error = &"nobody can be asked who is at this address";
            pod.refuse_early(
                Direction::Outbound,
                app.get(),
                peer,
                "unknown_destination",
                error,
            );
            None
        }
    }
}

fn refuse(pod: &Pod, facts: &OutboundFacts, refusal: &Refusal, started: Instant) {
    let connection = pod.context.parts.telemetry.connection(&ConnectionStart {
        direction: Direction::Outbound,
        source: facts.source.get(),
        destination: facts.original_dst.get(),
        hbone_target: None,
        parties: refusal.parties.clone(),
        source_identity: None,
        destination_identity: None,
        security: Security::Unknown,
        started,
    });
    connection.finish(Instant::now(), &refused(refusal));
}

pub(crate) fn refused(refusal: &Refusal) -> Outcome {
    Outcome::Refused {
        flag: refusal.flag(),
        error: refusal.to_string(),
        decided_by: refusal.by.to_string(),
    }
}

async fn through_tunnel(
    pod: Rc<Pod>,
    app: AppStream,
    facts: &OutboundFacts,
    route: HboneRoute,
    started: Instant,
) -> Option<Outgoing> {
    let connection = pod.context.parts.telemetry.connection(&ConnectionStart {
        direction: Direction::Outbound,
        source: facts.source.get(),
        destination: route.next_hop.get(),
        hbone_target: Some(route.target.get()),
        parties: route.parties.clone(),
        source_identity: Some(pod.facts.identity.clone()),
        destination_identity: match &*route.expected {
            [only] => Some(only.clone()),
            _ => None,
        },
        security: Security::MutualTls,
        started,
    });
    let (high, low) = (pod.context.random(), pod.context.random());
    let errand = Box::new(Errand {
        pod,
        key: PoolKey {
            next_hop: route.next_hop,
            expected: Arc::clone(&route.expected),
        },
        own: Arc::clone(&facts.own),
        client: facts.source.get(),
        target: route.target.get(),
        service: route.parties.service,
        trace: (u128::from(high) << 64) | u128::from(low),
        span: high ^ low.rotate_left(17),
        tried: 0,
        deadline: None,
    });
    match errand.open().await {
        Ok(stream) => {
            let pump = Pump::call(app, stream, Outward(connection));
            Some(Outgoing::Tunnel(Carried::new(pump, errand)))
        }
        Err(error) => {
            let failed = Outcome::Failed {
                flag: flag_of(&error),
                error: error.to_string(),
            };
            connection.finish(Instant::now(), &failed);
            None
        }
    }
}

async fn pass(
    pod: Rc<Pod>,
    app: AppStream,
    peer: SocketAddr,
    route: PassthroughRoute,
    started: Instant,
) -> Option<Outgoing> {
    let connection = pod.context.parts.telemetry.connection(&ConnectionStart {
        direction: Direction::Outbound,
        source: peer,
        destination: route.next_hop.get(),
        hbone_target: None,
        parties: route.parties,
        source_identity: None,
        destination_identity: None,
        security: Security::Unknown,
        started,
    });
    match tunnels::dial(&pod, route.next_hop.get())
        .await
        .map(AppStream::made)
    {
        Ok(server) => Some(Outgoing::Plain(Relay::new(
            app,
            server,
            Outward(connection),
        ))),
        Err(error) => {
            let failed = Outcome::Failed {
                flag: ResponseFlag::Connect,
                error: error.to_string(),
            };
            connection.finish(Instant::now(), &failed);
            None
        }
    }
}
