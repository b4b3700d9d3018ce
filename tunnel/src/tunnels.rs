//! Makes tunnels to peers and opens streams on them.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tunnel_credentials::{Certificate, PeerRole, explain, explain_tls};
use tunnel_hbone::{ClientTunnel, ConnectHead, OpenStream, Promised, TlsIo, TunnelError, disarm};
use tunnel_model::{Identity, ResponseFlag};
use tunnel_sockets::{Family, SocketKind};

use crate::connect::connect;
use crate::pod::Pod;
use crate::pool::PoolKey;

/// Tries with another tunnel when one turns out to be closing before a stream was opened on it.
const TRIES: usize = 3;
/// First pause before a peer is dialled again; doubled up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// A stream to the peer, and who the peer proved to be.
pub(crate) async fn open(
    pod: &Rc<Pod>,
    key: &PoolKey,
    head: &ConnectHead<'_>,
) -> Result<OpenStream, TunnelError> {
    let mut last = TunnelError::Closed;
    for _ in 0..TRIES {
        let opened = if pod.context.settings.limits.pool_streams == 1 {
            alone(&reach(pod, key).await?, head)
        } else {
            let (tunnel, guard) = pod.pool.tunnel(key, || reach(pod, key)).await?;
            tunnel.open(head, guard)
        };
        match opened {
            // Nothing has been sent: the next tunnel serves it as well.
            Err(TunnelError::Closed) => last = TunnelError::Closed,
            other => return other,
        }
    }
    Err(last)
}

/// Opens the one stream of a tunnel that ends with it.
fn alone(tunnel: &ClientTunnel, head: &ConnectHead<'_>) -> Result<OpenStream, TunnelError> {
    let opened = tunnel.open(head, tunnel.reserve());
    tunnel.retire();
    opened
}

/// Makes a tunnel. A peer that has answered before and now refuses or cuts off connections is
/// being restarted: it is dialled again until its connect timeout is over. A stranger is, if it cut
/// off the handshake, for its process may just have died. Nothing of an application has been sent.
async fn reach(pod: &Rc<Pod>, key: &PoolKey) -> Result<ClientTunnel, TunnelError> {
    let promised = pod.pool.promised(key);
    let deadline = Instant::now() + pod.context.settings.limits.connect_timeout;
    let (mut pause, mut tried) = (PAUSE, 0);
    loop {
        let error = match make(pod, key, &promised).await {
            Ok(tunnel) => return Ok(tunnel),
            Err(error) => error,
        };
        tried += 1;
        let again = match &error {
            TunnelError::Connect { kind, .. } => is_cut(*kind) && promised.has_answered(),
            TunnelError::Handshake(cause) => {
                is_cut(cause.kind()) && (promised.has_answered() || tried < TRIES)
            }
            _ => false,
        };
        if !again {
            return Err(in_words(error));
        }
        if Instant::now() + pause >= deadline {
            // It may be gone for good: the next connection is not held for it.
            promised.forget();
            return Err(in_words(error));
        }
        tracing::debug!(pod = %pod.facts.uid, peer = %key.next_hop.get(), %error, "the peer is dialled again");
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Nobody listens, or who did has died.
const fn is_cut(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

async fn make(
    pod: &Rc<Pod>,
    key: &PoolKey,
    promised: &Promised,
) -> Result<ClientTunnel, TunnelError> {
    let limits = &pod.context.settings.limits;
    let peer = key.next_hop.get();
    let certificate = pod
        .certificate(pod.context.settings.certificate_hold)
        .await
        .map_err(TunnelError::Certificate)?;
    let (io, proven) = meet(pod, &certificate, peer).await?;
    if !key.expected.contains(&proven) {
        return Err(TunnelError::Identity {
            actual: proven.to_string(),
            expected: names(&key.expected),
        });
    }
    let (tunnel, drive) = ClientTunnel::start(io, limits, promised.clone());
    let tunnels = Rc::clone(&pod.tunnels);
    let pod = Rc::clone(pod);
    tunnels.spawn(async move {
        if let Err(error) = drive.await {
            tracing::debug!(pod = %pod.facts.uid, %peer, %error, "tunnel ended");
        }
        pod.pool.sweep();
    });
    Ok(tunnel)
}

/// Connects to a peer and learns who it is.
async fn meet(
    pod: &Rc<Pod>,
    certificate: &Certificate,
    peer: SocketAddr,
) -> Result<(TlsIo<TcpStream>, Identity), TunnelError> {
    let limit = pod.context.settings.limits.handshake_timeout;
    let mut anew = false;
    loop {
        let stream = dial(pod, peer).await?;
        // A pod's sockets are born armed. Here what the kernel has must still be sent if this process
        // is killed: the tunnel protects it, and its loss would make streams end in doubt.
        disarm(&stream).map_err(|e| TunnelError::Socket(e.to_string()))?;
        let config = Arc::clone(&certificate.client);
        let (io, shown) = tunnel_hbone::connect(stream, peer.ip(), config, limit).await?;
        match certificate.peer(PeerRole::Server, &shown.unjudged) {
            Ok(proven) => return Ok((io, proven)),
            // It may resume sessions that began with a certificate it has renewed since.
            Err(_) if shown.resumed && !anew => {
                certificate.forget_sessions(peer.ip());
                anew = true;
            }
            Err(why) => return Err(TunnelError::Tls(explain_tls(&why))),
        }
    }
}

/// The same error with a handshake's reason in the words of those who verify certificates.
pub(crate) fn in_words(error: TunnelError) -> TunnelError {
    match error {
        TunnelError::Handshake(cause) => TunnelError::Tls(explain(&cause)),
        other => other,
    }
}

/// A connection from the pod's own address.
pub(crate) async fn dial(pod: &Rc<Pod>, peer: SocketAddr) -> Result<TcpStream, TunnelError> {
    let socket = pod
        .stock
        .take(Family::of(&peer.ip()), SocketKind::Outbound)
        .await
        .map_err(|e| TunnelError::Socket(e.to_string()))?;
    match timeout(
        pod.context.settings.limits.connect_timeout,
        connect(socket, peer),
    )
    .await
    {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(TunnelError::Connect {
            peer,
            kind: error.kind(),
            cause: error.to_string(),
        }),
        Err(_) => Err(TunnelError::ConnectTimeout { peer }),
    }
}

pub(crate) fn flag_of(error: &TunnelError) -> ResponseFlag {
    match error {
        TunnelError::ConnectTimeout { .. } => ResponseFlag::NetworkPolicy,
        TunnelError::Connect { .. } | TunnelError::Socket(_) | TunnelError::Closed => {
            ResponseFlag::Connect
        }
        TunnelError::Tls(_)
        | TunnelError::Handshake(_)
        | TunnelError::HandshakeTimeout
        | TunnelError::Identity { .. } => ResponseFlag::TlsFailure,
        TunnelError::Http2(_) => ResponseFlag::H2HandshakeFailure,
        TunnelError::Certificate(_) => ResponseFlag::IdentityError,
    }
}

fn names(identities: &[Identity]) -> String {
    identities
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" or ")
}
