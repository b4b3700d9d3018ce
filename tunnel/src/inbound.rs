//! Tunnels from peers, and the connections in them (15008).

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderValue, Response, StatusCode};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tunnel_credentials::peer_identity;
use tunnel_decide::{InboundFacts, InboundVerdict};
use tunnel_hbone::{Down, Incoming, Meter, Pump, TunnelError};
use tunnel_model::{Identity, NextHop, Parties, ResponseFlag, SourceAddr, Workload};
use tunnel_sockets::{Family, SocketKind};
use tunnel_telemetry::{Connection, ConnectionStart, Direction, EarlyRefusal, Outcome, Security};

use crate::outbound::{refused, streamed};
use crate::pod::{Pod, local_address};

/// The peer of a tunnel.
struct Peer {
    address: SourceAddr,
    called: SocketAddr,
    identity: Identity,
}

/// Serves one tunnel to its end.
pub(crate) async fn serve(pod: Rc<Pod>, stream: TcpStream, peer: SocketAddr, ticket: u64) {
    let Ok(called) = local_address(&stream) else {
        return;
    };
    let greeted = greet(&pod, stream, peer, called).await;
    pod.strangers.leave(ticket);
    let (io, peer) = match greeted {
        Ok(greeted) => greeted,
        Err(error) => {
            refuse_tunnel(&pod, peer, called, &error);
            return;
        }
    };
    let (peer, limits) = (Rc::new(peer), &pod.context.settings.limits);
    let served = tunnel_hbone::serve(io, limits, pod.context.drained(), |incoming| {
        pod.live
            .spawn(stream_task(Rc::clone(&pod), Rc::clone(&peer), incoming));
    })
    .await;
    if let Err(error) = served {
        tracing::debug!(pod = %pod.facts.uid, peer = %peer.address, identity = %peer.identity, %error, "tunnel from peer ended");
    }
}

type ServerIo = tunnel_hbone::TlsIo<TcpStream, rustls::server::UnbufferedServerConnection>;

async fn greet(
    pod: &Rc<Pod>,
    stream: TcpStream,
    peer: SocketAddr,
    called: SocketAddr,
) -> Result<(ServerIo, Peer), TunnelError> {
    let limit = pod.context.settings.limits.handshake_timeout;
    let certificate = pod
        .certificate(limit)
        .await
        .map_err(TunnelError::Certificate)?;
    let config = Arc::clone(&certificate.server);
    let (io, chain) = tunnel_hbone::accept(stream, config, limit).await?;
    let identity = peer_identity(&chain).map_err(|e| TunnelError::Tls(e.to_string()))?;
    Ok((
        io,
        Peer {
            address: SourceAddr::new(peer),
            called,
            identity,
        },
    ))
}

fn refuse_tunnel(pod: &Pod, peer: SocketAddr, called: SocketAddr, error: &TunnelError) {
    let reason = match error {
        TunnelError::Certificate(_) => "no_certificate",
        TunnelError::HandshakeTimeout => "handshake_timeout",
        _ => "tls_failure",
    };
    let refusal = EarlyRefusal {
        reason,
        error,
        decided_by: "identity",
    };
    pod.context
        .parts
        .telemetry
        .early_refusal(Direction::Inbound, peer, called, &refusal);
}

async fn stream_task(pod: Rc<Pod>, peer: Rc<Peer>, incoming: Incoming) {
    let started = Instant::now();
    let Incoming {
        request,
        mut respond,
        guard,
    } = incoming;
    if request.method() != http::Method::CONNECT {
        early(
            &pod,
            &peer,
            "not_connect",
            &format!("method {} is not CONNECT", request.method()),
        );
        answer(&mut respond, StatusCode::BAD_REQUEST, None);
        return;
    }
    let Some((snapshot, own)) = pod.own().await else {
        early(
            &pod,
            &peer,
            "unknown_destination",
            &"this pod's workload is not known yet",
        );
        answer(&mut respond, StatusCode::SERVICE_UNAVAILABLE, None);
        return;
    };
    let authority = request
        .uri()
        .authority()
        .map_or("", http::uri::Authority::as_str);
    let facts = InboundFacts {
        own: Arc::clone(&own),
        source: peer.address,
        connection_dst: peer.called.ip(),
        peer: peer.identity.clone(),
        authority,
        network: Arc::clone(&pod.context.settings.network),
    };
    let verdict = tunnel_decide::inbound_hbone(&snapshot, &facts);
    drop(snapshot);
    match verdict {
        InboundVerdict::Deliver {
            next_hop,
            parties,
            dry_run,
            by: _,
        } => {
            report_dry_run(&pod, &dry_run);
            let connection = open(&pod, &peer, next_hop, parties, started);
            let body = request.into_body();
            let app = match connect_app(&pod, peer.address.get(), next_hop).await {
                Ok(app) => app,
                Err(error) => {
                    let failed = Outcome::Failed {
                        flag: ResponseFlag::Connect,
                        error,
                    };
                    connection.finish(Instant::now(), &failed);
                    answer(&mut respond, StatusCode::SERVICE_UNAVAILABLE, None);
                    return;
                }
            };
            let Some(send) = answer(&mut respond, StatusCode::OK, Some(&own)) else {
                let error = "the peer gave up before the application answered".to_owned();
                let failed = Outcome::Failed {
                    flag: ResponseFlag::Connect,
                    error,
                };
                connection.finish(Instant::now(), &failed);
                return;
            };
            let pumped = Pump::new(app, send, Down::Open(body), guard, Inward(connection)).await;
            pumped
                .meter
                .0
                .finish(Instant::now(), &streamed(pumped.result));
        }
        InboundVerdict::Refuse(refusal) => {
            let target = authority.parse().unwrap_or(peer.called);
            let connection = open(
                &pod,
                &peer,
                NextHop::new(target),
                refusal.parties.clone(),
                started,
            );
            connection.finish(Instant::now(), &refused(&refusal));
            let status = StatusCode::from_u16(refusal.http_status());
            answer(&mut respond, status.unwrap_or(StatusCode::FORBIDDEN), None);
        }
    }
}

fn early(pod: &Pod, peer: &Peer, reason: &'static str, error: &dyn std::fmt::Display) {
    let refusal = EarlyRefusal {
        reason,
        error,
        decided_by: "protocol",
    };
    let from = peer.address.get();
    pod.context
        .parts
        .telemetry
        .early_refusal(Direction::Inbound, from, peer.called, &refusal);
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

/// A connection to the application that comes from the client's address.
pub(crate) async fn connect_app(
    pod: &Rc<Pod>,
    client: SocketAddr,
    to: NextHop,
) -> Result<TcpStream, String> {
    let family = Family::of(&to.ip());
    let spoof = client.ip() != to.ip() && Family::of(&client.ip()) == family;
    let kind = if spoof {
        SocketKind::Transparent
    } else {
        SocketKind::Outbound
    };
    let socket = pod
        .stock
        .take(family, kind)
        .await
        .map_err(|e| e.to_string())?;
    if spoof {
        let from = SocketAddr::new(client.ip(), 0);
        socket
            .bind(from)
            .map_err(|e| format!("cannot bind to the client's address {from}: {e}"))?;
    }
    let limit = pod.context.settings.limits.connect_timeout;
    match timeout(limit, socket.connect(to.get())).await {
        Ok(Ok(app)) => Ok(app),
        Ok(Err(error)) => Err(format!(
            "the application at {to} refused the connection: {error}"
        )),
        Err(_) => Err(format!(
            "the application at {to} did not accept within {limit:?}"
        )),
    }
}

/// Answers a CONNECT; only 200 leaves the stream open.
fn answer(
    respond: &mut SendResponse<Bytes>,
    status: StatusCode,
    own: Option<&Workload>,
) -> Option<h2::SendStream<Bytes>> {
    let mut response = Response::new(());
    *response.status_mut() = status;
    if let Some(own) = own
        && let Ok(baggage) = HeaderValue::from_str(&crate::context::baggage(own))
    {
        response.headers_mut().insert("baggage", baggage);
    }
    // Fails when the peer has reset the stream meanwhile: then nobody waits for an answer.
    respond
        .send_response(response, status != StatusCode::OK)
        .ok()
}

/// Counts a connection whose application is upstream.
pub(crate) struct Inward(pub Connection);

impl Meter for Inward {
    fn sent_by_app(&self, bytes: u64) {
        self.0.add_sent(bytes);
    }

    fn given_to_app(&self, bytes: u64) {
        self.0.add_received(bytes);
    }
}
