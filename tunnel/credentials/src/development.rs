use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{KeyPair, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::authority::{CaError, CertificateAuthority, SignedChain, Signing, SigningRequest};
use crate::certificate::pem_text;
use crate::clock::system_time;
use crate::files::{self, FileError};
use crate::issue::{IssueError, LeafFacts, Signer, check_request, read_request};

const NAME: &str = "ambient development CA";
const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Certificates begin a little before they are made, for peers whose clock is behind.
const BACKDATED: Duration = Duration::from_secs(60);

/// A certificate authority inside the program, from a key pair on disk.
///
/// It signs for whoever holds it, and asks nobody whether the workload exists: for development and
/// tests. Nodes that are to trust each other share the two files.
pub struct DevelopmentCa {
    signer: Signer,
    not_after: SystemTime,
}

/// Why there is no development authority. The operator's to mend, all but `Issue`.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentCaError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate file has no certificate in it.
    #[error("{path} holds no PEM certificate: {why}", path = .path.display())]
    NotACertificate {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The key file has no usable key in it. What the file holds is not repeated.
    #[error(
        "{path} holds no private key that can be used (PEM, PKCS #8, ECDSA)",
        path = .path.display()
    )]
    NotAKey {
        /// Which file.
        path: PathBuf,
    },
    /// The certificate may not sign others.
    #[error("{path} is not the certificate of an authority", path = .path.display())]
    NotAnAuthority {
        /// Which file.
        path: PathBuf,
    },
    /// The two files do not belong together.
    #[error(
        "the key in {key} is not that of the certificate in {certificate}",
        key = .key.display(), certificate = .certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate has run out.
    #[error("the certificate in {path} has expired; create a new one", path = .path.display())]
    Expired {
        /// Which file.
        path: PathBuf,
    },
    /// Making a new pair failed.
    #[error("cannot make a key pair: {0}")]
    Issue(#[from] IssueError),
}

impl DevelopmentCa {
    /// Makes a new key pair in two files that must not exist: the certificate for everybody to
    /// read, the key for its owner only.
    ///
    /// # Errors
    /// When a file exists or cannot be written; nothing new is left behind then.
    pub fn create(certificate: &Path, key: &Path) -> Result<Self, DevelopmentCaError> {
        let library = |why: rcgen::Error| IssueError::Library(why.to_string());
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(library)?;
        let key_pem = zeroize::Zeroizing::new(pair.serialize_pem());
        let now = SystemTime::now();
        let not_after = now + ROOT_LIFE;
        let signer = Signer::self_signed(pair, NAME, now - BACKDATED, not_after)?;
        files::create(key, &key_pem, 0o600)?;
        let public = pem_text(std::slice::from_ref(&signer.der));
        if let Err(why) = files::create(certificate, &public, 0o644) {
            // A key without its certificate is of no use, and we made it a moment ago.
            if let Err(left) = std::fs::remove_file(key) {
                tracing::error!(path = %key.display(), error = %left, "a new key is left behind");
            }
            return Err(why.into());
        }
        Ok(Self { signer, not_after })
    }

    /// Reads a key pair.
    ///
    /// # Errors
    /// When a file cannot be read, the key is readable by others than its owner, the certificate
    /// is no authority's or expired, or the two do not belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, DevelopmentCaError> {
        let text = files::read_public(certificate)?;
        let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|why| {
            DevelopmentCaError::NotACertificate {
                path: certificate.to_owned(),
                why: why.to_string(),
            }
        })?;
        let pair = KeyPair::from_pem(&files::read_private(key)?).map_err(|_| {
            DevelopmentCaError::NotAKey {
                path: key.to_owned(),
            }
        })?;
        let not_after = check_root(&der, certificate, &pair, key)?;
        Ok(Self {
            signer: Signer::new(der, pair)?,
            not_after,
        })
    }

    /// The root, for those who are to trust it.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.signer.der
    }

    fn answer(&self, request: &SigningRequest) -> Result<SignedChain, IssueError> {
        let now = SystemTime::now();
        if now >= self.not_after {
            return Err(IssueError::RootExpired);
        }
        let csr = read_request(&request.csr_pem)?;
        check_request(&csr, &request.identity)?;
        let wished = now.checked_add(request.ttl).unwrap_or(self.not_after);
        let facts = LeafFacts {
            uris: &[request.identity.to_string()],
            not_before: now - BACKDATED,
            not_after: wished.min(self.not_after),
            is_ca: false,
            server_auth: true,
            client_auth: true,
        };
        let leaf = self.signer.issue(&facts, &csr.public_key)?;
        Ok(SignedChain {
            chain: vec![leaf],
            roots: vec![self.signer.der.clone()],
        })
    }
}

/// Returns until when the root is valid.
fn check_root(
    der: &CertificateDer<'_>,
    certificate: &Path,
    pair: &KeyPair,
    key: &Path,
) -> Result<SystemTime, DevelopmentCaError> {
    let path = || certificate.to_owned();
    let (_, root) =
        X509Certificate::from_der(der).map_err(|why| DevelopmentCaError::NotACertificate {
            path: path(),
            why: why.to_string(),
        })?;
    if !root.is_ca() {
        return Err(DevelopmentCaError::NotAnAuthority { path: path() });
    }
    if root.public_key().raw != pair.subject_public_key_info() {
        return Err(DevelopmentCaError::Mismatch {
            certificate: path(),
            key: key.to_owned(),
        });
    }
    let not_after = system_time(root.validity().not_after.timestamp());
    if not_after <= SystemTime::now() {
        return Err(DevelopmentCaError::Expired { path: path() });
    }
    Ok(not_after)
}

impl std::fmt::Debug for DevelopmentCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevelopmentCa")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl CertificateAuthority for DevelopmentCa {
    fn sign(&self, request: SigningRequest) -> Signing<'_> {
        Box::pin(std::future::ready(self.answer(&request).map_err(
            |why| match why {
                IssueError::BadRequest(_)
                | IssueError::WrongName { .. }
                | IssueError::RootExpired => CaError::Refused(why.to_string()),
                IssueError::Library(_) => CaError::Internal(why.to_string()),
            },
        )))
    }
}
