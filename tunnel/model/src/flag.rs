//! The response flags of metrics: why a connection failed, in the words dashboards know.

use std::fmt;

/// `response_flags` of the traffic metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ResponseFlag {
    /// Nothing to report.
    #[default]
    None,
    /// A policy refused it.
    Deny,
    /// The next hop could not be reached, or the connection broke.
    Connect,
    /// TLS failed.
    TlsFailure,
    /// HTTP/2 failed.
    H2HandshakeFailure,
    /// The next hop did not answer, as when a `NetworkPolicy` drops port 15008.
    NetworkPolicy,
    /// There was no certificate.
    IdentityError,
    /// The peer's certificate is revoked.
    CertRevoked,
}

impl ResponseFlag {
    /// The label's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::Deny => "DENY",
            Self::Connect => "CONNECT",
            Self::TlsFailure => "TLS_FAILURE",
            Self::H2HandshakeFailure => "H2_HANDSHAKE_FAILURE",
            Self::NetworkPolicy => "NETWORK_POLICY",
            Self::IdentityError => "IDENTITY_ERROR",
            Self::CertRevoked => "CERT_REVOKED",
        }
    }
}

impl fmt::Display for ResponseFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
