//! What goes wrong with a tunnel, and whose fault it is.

use std::io;

use crate::http2::Broken;

/// Why a tunnel to a peer could not be made, or a stream on it not opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TunnelError {
    /// The peer did not accept a TCP connection in time.
    #[error(
        "connection timed out, maybe a NetworkPolicy is blocking HBONE port 15008: {peer} did not answer"
    )]
    ConnectTimeout {
        /// The address dialled.
        peer: std::net::SocketAddr,
    },
    /// The peer refused the TCP connection, or there is no way to it.
    #[error("cannot connect to {peer}: {cause}")]
    Connect {
        /// The address dialled.
        peer: std::net::SocketAddr,
        /// What the kernel said.
        kind: io::ErrorKind,
        /// The same in words.
        cause: String,
    },
    /// The TLS handshake failed.
    #[error("TLS handshake failed: {0}")]
    Tls(String),
    /// The TLS handshake failed; the library's own error, for whoever can put it in words.
    #[error("TLS handshake failed: {0}")]
    Handshake(std::sync::Arc<io::Error>),
    /// The handshake did not finish in time.
    #[error(
        "TLS handshake with the peer did not finish in time; the peer accepted the connection and then stayed silent"
    )]
    HandshakeTimeout,
    /// The peer has another identity than the one its address belongs to.
    #[error("the peer at this address is {actual}, expected {expected}")]
    Identity {
        /// Who answered.
        actual: String,
        /// Who should have.
        expected: String,
    },
    /// HTTP/2 could not be established or broke.
    #[error("HTTP/2: {0}")]
    Http2(String),
    /// The tunnel was closed before the stream was opened; another tunnel may serve it.
    #[error("the tunnel was closed by the peer before the stream was opened")]
    Closed,
    /// There is no certificate to show to the peer.
    #[error("no certificate: {0}")]
    Certificate(String),
    /// A socket could not be made.
    #[error("{0}")]
    Socket(String),
}

/// Why an established stream ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The other side answered CONNECT with something else than 200.
    #[error("http status: {0}")]
    Status(http::StatusCode),
    /// The application's side of the connection failed.
    #[error("the application's connection failed: {0}")]
    Application(io::Error),
    /// Everybody together holds too much for applications that do not read, this stream most.
    #[error(
        "ended to protect others: the application does not read, and all streams together hold \
         as much as this node has room for"
    )]
    Budget,
    /// The tunnel's side failed or was reset.
    #[error("the tunnel's stream failed: {0}")]
    Tunnel(#[from] Broken),
}
