use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, DnType,
    IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::crypto::aws_lc_rs;
use rustls::version::TLS13;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::ServerConfig;

/// A root that signs servers, and whatever a test asks for.
pub struct ScriptedAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Default for ScriptedAuthority {
    fn default() -> Self {
        Self::new()
    }
}

impl ScriptedAuthority {
    /// A new root.
    #[must_use]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "scripted root");
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        Self { issuer }
    }

    /// The root, PEM.
    #[must_use]
    pub fn root_pem(&self) -> String {
        self.issuer.pem()
    }

    /// Puts the root where a client looks for it.
    pub fn write_root(&self, path: &Path) {
        std::fs::write(path, self.root_pem()).unwrap();
    }

    /// A certificate for the key of a request, PEM, valid for many years: for `identity` if that is
    /// given, else for whom the request names.
    #[must_use]
    pub fn sign(&self, csr_pem: &str, identity: Option<&str>) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(csr_pem).unwrap();
        if let Some(identity) = identity {
            request.params.subject_alt_names = vec![SanType::URI(identity.try_into().unwrap())];
        }
        request.signed_by(&self.issuer).unwrap().pem()
    }

    pub(super) fn server_config(&self, name: &str) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}
