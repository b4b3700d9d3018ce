//! Plaintext connections to a pod (15006).

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tunnel_decide::{InboundVerdict, PlaintextFacts};
use tunnel_hbone::{AppStream, Relay};
use tunnel_model::{NextHop, OriginalDst, Parties, ResponseFlag, Snapshot, SourceAddr, Workload};
use tunnel_sockets::original_destination;
use tunnel_telemetry::{Connection, ConnectionStart, Direction, Outcome, Security};

use crate::application::connect_app;
use crate::flow::{Flow, InClear};
use crate::outbound::refused;
use crate::pod::{Admission, NOT_DISCOVERED, Pod};
use crate::standing::{Client, Standing, Watched};
use crate::stream::report_dry_run;

/// Serves one connection to its end; `id` is its number among the pod's.
pub(crate) async fn serve(pod: Rc<Pod>, client: AppStream, peer: SocketAddr, id: u64) {
    if let Some(flow) = Box::pin(set_up(pod, client, peer, id)).await {
        flow.await;
    }
}

async fn set_up(
    pod: Rc<Pod>,
    client: AppStream,
    peer: SocketAddr,
    id: u64,
) -> Option<Flow<InClear>> {
    let started = Instant::now();
    let Ok(original) = original_destination(&client) else {
        pod.refuse_early(
            Direction::Inbound,
            client.get(),
            peer,
            "not_redirected",
            &"connection to the tunnel's own port 15006",
        );
        return None;
    };
    let original_dst = OriginalDst::new(original);
    let judge = |snapshot: &Snapshot, own: &Arc<Workload>| {
        let facts = PlaintextFacts {
            own: Arc::clone(own),
            source: SourceAddr::new(peer),
            original_dst,
            network: Arc::clone(&pod.context.settings.network),
            root_namespace: pod.root_namespace(),
        };
        tunnel_decide::inbound_plaintext(snapshot, &facts)
    };
    let Some(admission) = pod.own_judged(judge).await else {
        pod.refuse_early(
            Direction::Inbound,
            client.get(),
            peer,
            "unknown_destination",
            &NOT_DISCOVERED,
        );
        return None;
    };
    let Admission {
        verdict,
        snapshot,
        own,
    } = admission;
    match verdict {
        InboundVerdict::Deliver {
            next_hop,
            parties,
            dry_run,
            by: _,
        } => {
            report_dry_run(&pod, &dry_run);
            let connection = open(&pod, peer, next_hop, parties, started);
            let standing = Standing::new(Client::Unknown(peer.ip()), next_hop);
            pod.stand(&pod.live.plaintext, id, &standing, (&snapshot, &own));
            drop(snapshot);
            let connection = Watched::new(connection, standing);
            deliver(pod, client, peer, next_hop, connection).await
        }
        InboundVerdict::Refuse(refusal) => {
            let to = NextHop::new(original_dst.get());
            let connection = open(&pod, peer, to, refusal.parties.clone(), started);
            connection.finish(Instant::now(), &refused(&refusal));
            None
        }
    }
}

async fn deliver(
    pod: Rc<Pod>,
    client: AppStream,
    peer: SocketAddr,
    to: NextHop,
    connection: Watched,
) -> Option<Flow<InClear>> {
    match connect_app(&pod, peer, to).await {
        Ok(app) => {
            // Here the client is downstream, and the first of the two.
            Some(Flow::Plain(Relay::new(client, app, InClear(connection))))
        }
        Err(error) => {
            let failed = Outcome::Failed {
                flag: ResponseFlag::Connect,
                error,
            };
            connection.finish(&failed);
            None
        }
    }
}

fn open(
    pod: &Pod,
    peer: SocketAddr,
    to: NextHop,
    parties: Parties,
    started: Instant,
) -> Connection {
    pod.context.parts.telemetry.connection(&ConnectionStart {
        direction: Direction::Inbound,
        source: peer,
        destination: to.get(),
        hbone_target: None,
        parties,
        source_identity: None,
        destination_identity: None,
        security: Security::Unknown,
        started,
    })
}
