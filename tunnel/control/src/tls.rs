//! The client's side of TLS: one kind of server, known by its name and the roots of one file.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::{ControlError, TlsFault};

const ALPN_H2: &[u8] = b"h2";

/// A configuration that believes what the roots in `pem` signed. `path` is for the error.
pub(crate) fn client(pem: &[u8], path: &Path) -> Result<Arc<ClientConfig>, ControlError> {
    let unusable = |why: String| ControlError::RootFile {
        path: path.to_owned(),
        why,
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|why| unusable(why.to_string()))?;
        roots
            .add(certificate)
            .map_err(|why| unusable(why.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|why| ControlError::Tls(TlsFault::Other(why.to_string())))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    Ok(Arc::new(config))
}

/// Why a handshake failed.
pub(crate) fn fault(error: &io::Error, server_name: &str, roots: &Path) -> TlsFault {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(Error::InvalidCertificate(why)) => certificate_fault(why, server_name, roots),
        Some(other) => TlsFault::Other(other.to_string()),
        None => TlsFault::Other(format!("the handshake was not finished: {error}")),
    }
}

fn certificate_fault(why: &CertificateError, server_name: &str, roots: &Path) -> TlsFault {
    use CertificateError as E;
    match why {
        E::UnknownIssuer | E::BadSignature => TlsFault::Untrusted {
            roots: roots.to_owned(),
        },
        E::NotValidForName | E::NotValidForNameContext { .. } => TlsFault::OtherName {
            wanted: server_name.to_owned(),
        },
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => {
            TlsFault::OutOfTime(why.to_string())
        }
        other => TlsFault::Other(other.to_string()),
    }
}
