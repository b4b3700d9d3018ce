//! Obtains, checks, renews and hands out the certificates by which workloads prove who they are,
//! and builds the TLS configurations that use them.
//! Refuses to pass on a certificate that is not exactly what was asked for, to serve one past its
//! expiry, and to let a private key out of this crate in any form.
//! Owns the private keys, the one task that talks to the certificate authority, and the rules by
//! which a peer's certificate is believed, also while the authority changes its roots.
#![forbid(unsafe_code)]

mod answer;
mod authority;
mod book;
mod certificate;
mod clock;
mod development;
mod explain;
mod files;
mod issue;
mod istiod;
mod key;
mod obtain;
mod owner;
mod peer;
mod remember;
mod root_file;
mod roots;
mod schedule;
mod sessions;
mod settings;
mod slot;
mod tls;
mod trust;
mod verify;

mod handle;
#[cfg(any(test, feature = "test-util"))]
mod test_authority;
#[cfg(test)]
mod tests;

pub use answer::AnswerError;
pub use authority::{
    CaError, CertificateAuthority, ChainTextError, SignedChain, Signing, SigningRequest,
};
pub use certificate::{Certificate, CertificateState, CertificateSummary, RootSummary};
pub use clock::{SystemWallClock, WallClock};
pub use development::{DevelopmentCa, DevelopmentCaError};
pub use explain::{alert_of, explain, explain_tls};
pub use files::FileError;
pub use handle::Credentials;
pub use issue::IssueError;
pub use istiod::IstiodCa;
pub use peer::PeerIdentityError;
pub use settings::CredentialSettings;
#[cfg(any(test, feature = "test-util"))]
pub use test_authority::{LeafSpec, TestAuthority, TestCertificate};
pub use tls::ConfigError;
pub use verify::PeerRole;
