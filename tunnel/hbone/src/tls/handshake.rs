//! TLS handshakes, bounded in time, ending in a connection that is ours.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::error::TunnelError;

use super::TlsIo;

mod shake;
mod side;

use shake::Shake;
use side::Side;

/// What the other side of a handshake has shown.
#[derive(Debug)]
pub struct Shown {
    /// Its certificates. They were judged when they came: if the session is resumed, that was then,
    /// and whether they are still believed is the caller's question.
    pub unjudged: Vec<CertificateDer<'static>>,
    /// Whether a session goes on that another connection began.
    pub resumed: bool,
}

/// Performs the client's side; gives the connection and what the server showed. The client's last word
/// leaves with the first thing that it says, and never if the connection is dropped before.
/// The name is the peer's address: HBONE sends no SNI and verifies SPIFFE identities instead of
/// names.
///
/// # Errors
/// [`TunnelError::Handshake`] or [`TunnelError::HandshakeTimeout`].
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: IpAddr,
    config: Arc<ClientConfig>,
    limit: Duration,
) -> Result<(TlsIo<S>, Shown), TunnelError> {
    let tls = UnbufferedClientConnection::new(config, ServerName::IpAddress(peer.into()))
        .map_err(|e| TunnelError::Tls(e.to_string()))?;
    complete(stream, tls, limit).await
}

/// Performs the server's side, like [`connect`]; who is then not believed is told by [`TlsIo::refuse`].
///
/// # Errors
/// [`TunnelError::Handshake`] or [`TunnelError::HandshakeTimeout`].
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: Arc<ServerConfig>,
    limit: Duration,
) -> Result<(TlsIo<S>, Shown), TunnelError> {
    let tls =
        UnbufferedServerConnection::new(config).map_err(|e| TunnelError::Tls(e.to_string()))?;
    complete(stream, tls, limit).await
}

async fn complete<S: AsyncRead + AsyncWrite + Unpin, R: Side>(
    stream: S,
    tls: R,
    limit: Duration,
) -> Result<(TlsIo<S>, Shown), TunnelError> {
    let failed = |error| TunnelError::Handshake(Arc::new(error));
    let mut shake = Shake::new(stream, tls);
    timeout(limit, poll_fn(|cx| shake.poll(cx)))
        .await
        .map_err(|_| TunnelError::HandshakeTimeout)?
        .map_err(failed)?;
    shake.finish().map_err(failed)
}
