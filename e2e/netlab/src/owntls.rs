//! The applications' own TLS: a fresh self-signed certificate per lab, handed to pods through their environment.

use crate::podspec::PodSpec;
use anyhow::Result;
use rcgen::{CertificateParams, KeyPair};

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct OwnTls {
    certificate: String,
    key: String,
}

impl OwnTls {
    /// A new one, for the name that `podkit call tls` asks for by default.
    ///
    /// # Errors
    /// No key can be made.
    pub fn generate() -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec!["podkit.test".to_owned()])?.self_signed(&key)?;
        Ok(Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Gives a server pod the certificate and the key.
    #[must_use]
    pub fn for_server(&self, spec: PodSpec) -> PodSpec {
        self.for_client(spec).with_env("PODKIT_TLS_KEY", &self.key)
    }

    /// Gives a calling pod the certificate to trust.
    #[must_use]
    pub fn for_client(&self, spec: PodSpec) -> PodSpec {
        spec.with_env("PODKIT_TLS_CERT", &self.certificate)
    }
}
