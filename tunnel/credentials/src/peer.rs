use tunnel_model::{Identity, IdentityError};
use webpki::EndEntityCert;

/// Why a peer's certificate names no identity of a mesh. The peer's fault, every one of them.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum PeerIdentityError {
    /// There is no URI among its names.
    #[error("the peer's certificate names no SPIFFE identity")]
    NoIdentity,
    /// It could be read as several; whoever picks one can be made to pick the wrong one.
    #[error(
        "the peer's certificate has {0} URI names; a workload's certificate has exactly one, its SPIFFE identity"
    )]
    Several(usize),
    /// It names something else.
    #[error("the peer's certificate does not name a workload: {0}")]
    NotAWorkload(#[from] IdentityError),
    /// It belongs to another mesh.
    #[error("the peer {peer} is of another trust domain than ours, {own:?}")]
    OtherTrustDomain {
        /// Who the peer says it is.
        peer: Identity,
        /// Our trust domain.
        own: String,
    },
}

/// Who the owner of a certificate says it is: its one URI name. This reads and does not verify.
pub(crate) fn identity_of(leaf: &EndEntityCert<'_>) -> Result<Identity, PeerIdentityError> {
    let mut uris = leaf.valid_uri_names();
    let first = uris.next().ok_or(PeerIdentityError::NoIdentity)?;
    match uris.count() {
        0 => Ok(first.parse()?),
        more => Err(PeerIdentityError::Several(more + 1)),
    }
}
