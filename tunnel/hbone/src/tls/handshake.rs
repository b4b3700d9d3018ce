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

/// Performs the client's side; gives the connection and the certificates that the server showed, now
/// or when the session began that is resumed: whether they are still believed is the caller's
/// question. The client's last word leaves with the first thing that it says.
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
) -> Result<(TlsIo<S>, Vec<CertificateDer<'static>>), TunnelError> {
    let tls = UnbufferedClientConnection::new(config, ServerName::IpAddress(peer.into()))
        .map_err(|e| TunnelError::Tls(e.to_string()))?;
    complete(stream, tls, limit).await
}

/// Performs the server's side; the certificates are those of the client, as in [`connect`].
///
/// # Errors
/// [`TunnelError::Handshake`] or [`TunnelError::HandshakeTimeout`].
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: Arc<ServerConfig>,
    limit: Duration,
) -> Result<(TlsIo<S>, Vec<CertificateDer<'static>>), TunnelError> {
    let tls =
        UnbufferedServerConnection::new(config).map_err(|e| TunnelError::Tls(e.to_string()))?;
    complete(stream, tls, limit).await
}

async fn complete<S: AsyncRead + AsyncWrite + Unpin, R: Side>(
    stream: S,
    tls: R,
    limit: Duration,
) -> Result<(TlsIo<S>, Vec<CertificateDer<'static>>), TunnelError> {
    let failed = |error| TunnelError::Handshake(Arc::new(error));
    let mut shake = Shake::new(stream, tls);
    timeout(limit, poll_fn(|cx| shake.poll(cx)))
        .await
        .map_err(|_| TunnelError::HandshakeTimeout)?
        .map_err(failed)?;
    shake.finish().map_err(failed)
}
