//! Tunnels from peers (15008).

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::TcpStream;
use tunnel_credentials::{PeerRole, alert_of, explain_tls};
use tunnel_hbone::TunnelError;
use tunnel_model::{Identity, SourceAddr};
use tunnel_telemetry::{Direction, EarlyRefusal};

use crate::pod::{Pod, local_address};
use crate::stream;
use crate::tunnels::in_words;

/// The peer of a tunnel.
#[derive(Debug)]
pub(crate) struct Peer {
    pub address: SourceAddr,
    pub called: SocketAddr,
    pub identity: Identity,
}

/// Serves one tunnel to its end.
pub(crate) async fn serve(pod: Rc<Pod>, stream: TcpStream, peer: SocketAddr, ticket: u64) {
    let Ok(called) = local_address(&stream) else {
        return;
    };
    let farewell = pod.farewell.clone();
    let asked = farewell.asked();
    // Boxed: a tunnel does not carry its handshake along.
    let greeted = {
        let cut_off = CutOff(Some((&pod, peer, called)));
        let greeted = Box::pin(greet(&pod, stream, peer, called)).await;
        cut_off.in_time();
        greeted
    };
    pod.strangers.leave(ticket);
    let (io, peer) = match greeted {
        Ok(greeted) => greeted,
        Err(error) => {
            refuse_tunnel(&pod, peer, called, &error);
            return;
        }
    };
    let (peer, limits) = (Rc::new(peer), &pod.context.settings.limits);
    let bound = pod.context.settings.max_connections;
    let served = tunnel_hbone::serve(io, limits, asked, farewell.over(), |incoming| {
        let streams = &pod.live.streams;
        if streams.count() >= bound {
            // Unanswered, it is not processed: the peer may try elsewhere or later.
            return;
        }
        let (pod, peer) = (Rc::clone(&pod), Rc::clone(&peer));
        streams.spawn_at(|id| stream::serve(pod, peer, incoming, id));
    })
    .await;
    if let Err(error) = served {
        tracing::warn!(pod = %pod.facts.uid, peer = %peer.address, identity = %peer.identity, %error, "tunnel from peer ended");
    }
}

/// Says so when a handshake is ended from outside: to make room for others, or with its pod.
struct CutOff<'a>(Option<(&'a Pod, SocketAddr, SocketAddr)>);

impl CutOff<'_> {
    fn in_time(mut self) {
        self.0 = None;
    }
}

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        let Some((pod, peer, called)) = self.0 else {
            return;
        };
        let refusal = EarlyRefusal {
            reason: "handshake_cut_off",
            error: &"TLS handshake ended to make room for newer ones, or because the pod left",
            decided_by: "limits",
        };
        let telemetry = &pod.context.parts.telemetry;
        telemetry.early_refusal(Direction::Inbound, peer, called, &refusal);
    }
}

type ServerIo = tunnel_hbone::TlsIo<TcpStream>;

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
    let (io, shown) = tunnel_hbone::accept(stream, config, limit)
        .await
        .map_err(in_words)?;
    let identity = match certificate.peer(PeerRole::Client, &shown.unjudged) {
        Ok(identity) => identity,
        Err(why) => {
            io.refuse(alert_of(&why)).await;
            return Err(TunnelError::Tls(explain_tls(&why)));
        }
    };
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
    let (reason, decided_by) = match error {
        TunnelError::Certificate(_) => ("no_certificate", "identity"),
        TunnelError::HandshakeTimeout => ("handshake_timeout", "timeout"),
        _ => ("tls_failure", "tls"),
    };
    let refusal = EarlyRefusal {
        reason,
        error,
        decided_by,
    };
    pod.context
        .parts
        .telemetry
        .early_refusal(Direction::Inbound, peer, called, &refusal);
}
