//! The application's own TLS: a self-signed certificate that the caller was told to trust, and nothing else.

use anyhow::{Context, Result};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;

const CERT: &str = "PODKIT_TLS_CERT";
const KEY: &str = "PODKIT_TLS_KEY";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificate() -> Result<CertificateDer<'static>> {
    let pem = std::env::var(CERT).with_context(|| format!("{CERT} is not set"))?;
    CertificateDer::from_pem_slice(pem.as_bytes()).with_context(|| format!("{CERT} is not PEM"))
}

/// The server's side.
pub(crate) fn server() -> Result<Arc<ServerConfig>> {
    let pem = std::env::var(KEY).with_context(|| format!("{KEY} is not set"))?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).context("the key is not PEM")?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate()?], key)?;
    Ok(Arc::new(config))
}

/// The caller's side: trusts exactly that certificate.
pub(crate) fn client() -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate()?)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
