use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// What went wrong in a handshake, for the log, from the error an asynchronous TLS stream gives.
#[must_use]
pub fn explain(error: &io::Error) -> String {
    match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    {
        Some(tls) => explain_tls(tls),
        None => error.to_string(),
    }
}

/// What a peer is told that is not believed (RFC 8446 6.2).
#[must_use]
pub fn alert_of(error: &Error) -> AlertDescription {
    match error {
        Error::InvalidCertificate(why) => why.clone().into(),
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        _ => AlertDescription::BadCertificate,
    }
}

/// What went wrong in a handshake, for the log.
///
/// The TLS library prints the reasons our verifier gives as data structures; this prints them as
/// the sentences they are.
#[must_use]
pub fn explain_tls(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::Other(why)) => {
            format!("invalid peer certificate: {why}")
        }
        other => other.to_string(),
    }
}
