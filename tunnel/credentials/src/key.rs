use std::fmt;
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PublicKeyData as _, SanType};
use rustls::sign::SigningKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tunnel_model::Identity;
use zeroize::Zeroize as _;

/// A workload's private key between its making and its place in a TLS configuration. There is no
/// way to read it, print it or clone it, and its encoded form is wiped when it goes.
pub(crate) struct Key {
    pair: KeyPair,
}

/// The cryptographic library failed. Nobody outside this process can have caused it.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("cannot {doing}: {why}; the cryptographic library is at fault, retried")]
pub(crate) struct KeyError {
    doing: &'static str,
    why: String,
}

impl KeyError {
    fn new(doing: &'static str, why: impl fmt::Display) -> Self {
        Self {
            doing,
            why: format!("{why}"),
        }
    }
}

impl Key {
    /// A fresh ECDSA key on P-256.
    pub(crate) fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
            .map_err(|why| KeyError::new("make a private key", why))?;
        Ok(Self { pair })
    }

    /// The request for a certificate: no subject, and the identity as the one critical name.
    pub(crate) fn signing_request(&self, identity: &Identity) -> Result<String, KeyError> {
        let failed = |why: rcgen::Error| KeyError::new("make a signing request", why);
        let mut params = CertificateParams::default();
        // An empty subject is what makes the names critical (RFC 5280, 4.2.1.6).
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names =
            vec![SanType::URI(identity.as_str().try_into().map_err(failed)?)];
        params
            .serialize_request(&self.pair)
            .and_then(|request| request.pem())
            .map_err(failed)
    }

    /// The public half as a certificate holds it.
    pub(crate) fn public_key_info(&self) -> Vec<u8> {
        self.pair.subject_public_key_info()
    }

    /// The encoded key, to look for it where it must not be.
    #[cfg(test)]
    pub(crate) fn encoded_for_test(&self) -> Vec<u8> {
        self.pair.serialized_der().to_vec()
    }

    /// Turns it into what signs handshakes.
    pub(crate) fn into_signing_key(self) -> Result<Arc<dyn SigningKey>, KeyError> {
        let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.pair.serialized_der()));
        rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&der)
            .map_err(|why| KeyError::new("use a private key", why))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.pair.zeroize();
    }
}
