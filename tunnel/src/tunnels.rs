//! Makes tunnels to peers and opens streams on them.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tunnel_credentials::{explain, peer_identity};
use tunnel_hbone::{ClientTunnel, ConnectHead, OpenStream, TunnelError, connect_request};
use tunnel_model::Identity;
use tunnel_sockets::{Family, SocketKind};

use crate::pod::Pod;
use crate::pool::PoolKey;

/// Tries with another tunnel when one turns out to be closing before a stream was opened on it.
const TRIES: usize = 3;

/// A stream to the peer, and who the peer proved to be.
pub(crate) async fn open(
    pod: &Rc<Pod>,
    key: &PoolKey,
    head: &ConnectHead<'_>,
) -> Result<OpenStream, TunnelError> {
    let mut last = TunnelError::Closed;
    for _ in 0..TRIES {
        let (tunnel, guard) = pod.pool.tunnel(key, || make(pod, key)).await?;
        match tunnel.open(connect_request(head)?, guard).await {
            // Nothing has been sent: the next tunnel serves it as well.
            Err(TunnelError::Closed) => last = TunnelError::Closed,
            other => return other,
        }
    }
    Err(last)
}

async fn make(pod: &Rc<Pod>, key: &PoolKey) -> Result<ClientTunnel, TunnelError> {
    let limits = &pod.context.settings.limits;
    let peer = key.next_hop.get();
    let certificate = pod
        .certificate(pod.context.settings.certificate_hold)
        .await
        .map_err(TunnelError::Certificate)?;
    let stream = dial(pod, peer).await?;
    let config = std::sync::Arc::clone(&certificate.client);
    let (io, chain) = tunnel_hbone::connect(stream, peer.ip(), config, limits.handshake_timeout)
        .await
        .map_err(in_words)?;
    let proven = peer_identity(&chain).map_err(|e| TunnelError::Tls(e.to_string()))?;
    if !key.expected.contains(&proven) {
        return Err(TunnelError::Identity {
            actual: proven.to_string(),
            expected: names(&key.expected),
        });
    }
    let (tunnel, drive) = ClientTunnel::start(io, limits).await?;
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
        socket.connect(peer),
    )
    .await
    {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(TunnelError::Connect {
            peer,
            cause: error.to_string(),
        }),
        Err(_) => Err(TunnelError::ConnectTimeout { peer }),
    }
}

fn names(identities: &[Identity]) -> String {
    identities
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" or ")
}
