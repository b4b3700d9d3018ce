use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tunnel_model::Identity;

/// What a certificate authority is asked for.
#[derive(Debug, Clone)]
pub struct SigningRequest {
    /// The PKCS #10 request, PEM. It carries the public key and, as its only name, the identity.
    pub csr_pem: String,
    /// The identity, for authorities that are told of it beside the request.
    pub identity: Identity,
    /// The life asked for.
    pub ttl: Duration,
}

/// What a certificate authority answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedChain {
    /// The leaf first, then its intermediates.
    pub chain: Vec<CertificateDer<'static>>,
    /// The roots by which peers are to be judged, and this chain too.
    pub roots: Vec<CertificateDer<'static>>,
}

impl SignedChain {
    /// Reads an answer made of PEM texts: leaf, intermediates, and last the bundle of roots, which
    /// may hold several certificates.
    ///
    /// # Errors
    /// When a text is not PEM or fewer than two certificates are there.
    pub fn from_pem_list<T: AsRef<str>>(texts: &[T]) -> Result<Self, ChainTextError> {
        let Some((bundle, leaf_first)) = texts.split_last() else {
            return Err(ChainTextError::Empty);
        };
        let mut chain = Vec::new();
        for text in leaf_first {
            chain.extend(certificates(text.as_ref())?);
        }
        let roots = certificates(bundle.as_ref())?;
        if chain.is_empty() || roots.is_empty() {
            return Err(ChainTextError::Empty);
        }
        Ok(Self { chain, roots })
    }
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, ChainTextError> {
    CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|why| ChainTextError::NotPem(why.to_string()))
}

/// Why an answer's texts are no chain.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ChainTextError {
    /// There is no leaf or no root.
    #[error("the authority's answer holds no certificate chain with a root")]
    Empty,
    /// A text cannot be read.
    #[error("the authority's answer is not PEM: {0}")]
    NotPem(String),
}

/// Why an authority did not sign. Every failure is tried again later, with growing pauses, since
/// even a refusal can end: an authority refuses a workload it has not heard of yet.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum CaError {
    /// It could not be asked: the network, or the authority is down.
    #[error("the certificate authority cannot be reached: {0}")]
    Unreachable(String),
    /// It was asked and said no.
    #[error(
        "the certificate authority refused: {0}; check that it allows this node to ask for this identity"
    )]
    Refused(String),
    /// It said something that cannot be understood.
    #[error("the certificate authority's answer cannot be used: {0}")]
    Malformed(String),
    /// It failed inside.
    #[error("the certificate authority failed: {0}")]
    Internal(String),
}

/// A certificate authority's answer in the making.
pub type Signing<'a> = Pin<Box<dyn Future<Output = Result<SignedChain, CaError>> + Send + 'a>>;

/// Whoever signs our requests. Its answers are checked; it is trusted to name the roots.
pub trait CertificateAuthority: Send + Sync {
    /// Asks for one certificate. Dropping the future abandons the request.
    fn sign(&self, request: SigningRequest) -> Signing<'_>;

    /// The file in which its roots are published beside its answers, if there is one.
    fn root_file(&self) -> Option<&Path> {
        None
    }
}
