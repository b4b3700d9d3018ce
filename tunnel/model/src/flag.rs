use std::fmt;

/// Why a connection ended, as the `response_flags` metric label says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum ResponseFlag {
    /// Nothing went wrong.
    #[default]
    None,
    /// Refused by policy.
    Deny,
    /// The next hop could not be reached.
    Connect,
    /// The TLS handshake failed.
    TlsFailure,
    /// HTTP/2 could not be set up inside a good TLS session.
    H2HandshakeFailure,
    /// The next hop stayed silent, as it does behind a `NetworkPolicy` that drops packets.
    NetworkPolicy,
    /// There is no identity to use, or the peer's is not the expected one.
    IdentityError,
    /// The peer's certificate was revoked.
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
