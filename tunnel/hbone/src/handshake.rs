//! TLS handshakes, bounded in time, ending in a connection ready for HTTP/2.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::error::TunnelError;
use crate::record::{Records, TlsIo};

/// A TLS connection to a server, and the certificates it showed.
pub type ClientTls<S> = (
    TlsIo<S, UnbufferedClientConnection>,
    Vec<CertificateDer<'static>>,
);
/// A TLS connection from a client, and the certificates it showed.
pub type ServerTls<S> = (
    TlsIo<S, UnbufferedServerConnection>,
    Vec<CertificateDer<'static>>,
);

/// Performs the client's side. The name is the peer's address: HBONE sends no SNI and verifies
/// SPIFFE identities instead of names.
///
/// # Errors
/// [`TunnelError::Handshake`] or [`TunnelError::HandshakeTimeout`].
pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: std::net::IpAddr,
    config: Arc<ClientConfig>,
    limit: Duration,
) -> Result<ClientTls<S>, TunnelError> {
    let tls = UnbufferedClientConnection::new(config, ServerName::IpAddress(peer.into()))
        .map_err(|e| TunnelError::Tls(e.to_string()))?;
    complete(stream, tls, limit, |tls| tls.peer_certificates().map(own)).await
}

/// Performs the server's side.
///
/// # Errors
/// [`TunnelError::Handshake`] or [`TunnelError::HandshakeTimeout`].
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    config: Arc<ServerConfig>,
    limit: Duration,
) -> Result<ServerTls<S>, TunnelError> {
    let tls =
        UnbufferedServerConnection::new(config).map_err(|e| TunnelError::Tls(e.to_string()))?;
    complete(stream, tls, limit, |tls| tls.peer_certificates().map(own)).await
}

async fn complete<S: AsyncRead + AsyncWrite + Unpin, R: Records>(
    stream: S,
    tls: R,
    limit: Duration,
    certificates: impl Fn(&R) -> Option<Vec<CertificateDer<'static>>>,
) -> Result<(TlsIo<S, R>, Vec<CertificateDer<'static>>), TunnelError> {
    let io = TlsIo::new(stream, tls);
    timeout(limit, poll_fn(|cx| io.poll_handshake(cx)))
        .await
        .map_err(|_| TunnelError::HandshakeTimeout)?
        .map_err(|e| TunnelError::Handshake(Arc::new(e)))?;
    let chain = io.with_tls(certificates).unwrap_or_default();
    Ok((io, chain))
}

fn own(chain: &[CertificateDer<'_>]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|c| c.clone().into_owned()).collect()
}
