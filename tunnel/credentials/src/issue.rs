//! Signing, for the development authority and for tests: both make certificates of the same form.

use std::fmt;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use tunnel_model::Identity;

/// Why nothing was signed.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum IssueError {
    /// The request cannot be read, or its signature is not by the key in it: the asker's fault.
    #[error("the signing request cannot be read or is not signed by its own key: {0}")]
    BadRequest(String),
    /// The request names something else than the asker said: the asker's fault.
    #[error("the signing request must name {asked} and nothing else, but names {named}")]
    WrongName {
        /// Whose certificate was asked for.
        asked: Identity,
        /// What the request names.
        named: String,
    },
    /// The root has run out: the operator makes a new one.
    #[error("the authority's own certificate has expired; create a new one")]
    RootExpired,
    /// The library failed: this program's fault.
    #[error("signing failed: {0}")]
    Library(String),
}

fn library(why: impl fmt::Display) -> IssueError {
    IssueError::Library(format!("{why}"))
}

/// What goes into a leaf besides the key.
pub(crate) struct LeafFacts<'a> {
    pub(crate) uris: &'a [String],
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) is_ca: bool,
    pub(crate) server_auth: bool,
    pub(crate) client_auth: bool,
}

/// An authority's certificate with its key.
pub(crate) struct Signer {
    pub(crate) der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Signer {
    /// Joins a certificate and its key. Whether they belong together is for the caller to check.
    pub(crate) fn new(der: CertificateDer<'static>, key: KeyPair) -> Result<Self, IssueError> {
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(library)?;
        Ok(Self { der, issuer })
    }

    /// A root of its own making.
    pub(crate) fn self_signed(
        key: KeyPair,
        name: &str,
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Result<Self, IssueError> {
        let params = authority_params(name, not_before, not_after)?;
        let der = params.self_signed(&key).map_err(library)?.der().clone();
        Self::new(der, key)
    }

    /// An authority below this one.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn intermediate(
        &self,
        key: KeyPair,
        name: &str,
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Result<Self, IssueError> {
        let params = authority_params(name, not_before, not_after)?;
        let der = params
            .signed_by(&key, &self.issuer)
            .map_err(library)?
            .der()
            .clone();
        Self::new(der, key)
    }

    /// Signs a leaf for a public key.
    pub(crate) fn issue(
        &self,
        facts: &LeafFacts<'_>,
        public_key: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, IssueError> {
        let mut params = CertificateParams::default();
        params.serial_number = Some(serial()?);
        params.distinguished_name = DistinguishedName::new();
        for uri in facts.uris {
            let uri = uri.as_str().try_into().map_err(library)?;
            params.subject_alt_names.push(SanType::URI(uri));
        }
        params.not_before = facts.not_before.into();
        params.not_after = facts.not_after.into();
        params.is_ca = if facts.is_ca {
            IsCa::Ca(BasicConstraints::Unconstrained)
        } else {
            IsCa::ExplicitNoCa
        };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        if facts.server_auth {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if facts.client_auth {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        let signed = params
            .signed_by(public_key, &self.issuer)
            .map_err(library)?;
        Ok(signed.der().clone())
    }
}

fn authority_params(
    name: &str,
    not_before: SystemTime,
    not_after: SystemTime,
) -> Result<CertificateParams, IssueError> {
    let mut params = CertificateParams::default();
    params.serial_number = Some(serial()?);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = not_before.into();
    params.not_after = not_after.into();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// 126 random bits; the first two bits make it positive and never shorter.
fn serial() -> Result<SerialNumber, IssueError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(library)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Reads a request, which includes checking that it is signed by the key in it.
pub(crate) fn read_request(csr_pem: &str) -> Result<CertificateSigningRequestParams, IssueError> {
    CertificateSigningRequestParams::from_pem(csr_pem)
        .map_err(|why| IssueError::BadRequest(why.to_string()))
}

/// A request must name exactly the identity that was asked for. Whatever else it wishes for is
/// not granted, because nothing of it is copied.
pub(crate) fn check_request(
    request: &CertificateSigningRequestParams,
    asked: &Identity,
) -> Result<(), IssueError> {
    let names = &request.params.subject_alt_names;
    match names.as_slice() {
        [SanType::URI(uri)] if uri.as_str() == asked.as_str() => Ok(()),
        _ => {
            let listed: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
            let found = if listed.is_empty() {
                "nobody".to_owned()
            } else {
                listed.join(", ")
            };
            Err(IssueError::WrongName {
                asked: asked.clone(),
                named: found,
            })
        }
    }
}
