//! What a peer did wrong, and how it is told.

use std::io;

use rustls::{AlertDescription, Error};

/// The end of a connection by the peer's fault, or by its word.
#[derive(Debug)]
pub(super) struct Fault {
    /// What the peer is told; nothing if it was the peer that sent an alert.
    pub(super) alert: Option<AlertDescription>,
    error: Error,
}

impl Fault {
    /// A rule was broken.
    pub(super) fn new(alert: AlertDescription, text: &str) -> Self {
        Self {
            alert: Some(alert),
            error: general(text),
        }
    }

    pub(super) fn unexpected(text: &str) -> Self {
        Self::new(AlertDescription::UnexpectedMessage, text)
    }

    /// A record that is longer than any may be, sealed or not.
    pub(super) const fn oversized() -> Self {
        Self {
            alert: Some(AlertDescription::RecordOverflow),
            error: Error::PeerSentOversizedRecord,
        }
    }

    /// A record that its key does not open.
    pub(super) const fn undecipherable() -> Self {
        Self {
            alert: Some(AlertDescription::BadRecordMac),
            error: Error::DecryptError,
        }
    }

    /// The peer gave up and said why.
    pub(super) const fn told(alert: AlertDescription) -> Self {
        Self {
            alert: None,
            error: Error::AlertReceived(alert),
        }
    }

    /// Not the peer's fault, but the end all the same.
    pub(super) const fn own(error: Error) -> Self {
        Self {
            alert: Some(AlertDescription::InternalError),
            error,
        }
    }

    pub(super) fn into_error(self) -> io::Error {
        tls_error(self.error)
    }
}

/// An error of ours in the words of the library's.
pub(super) fn general(text: &str) -> Error {
    Error::General(text.to_owned())
}

/// The same shape as ever: whoever explains errors looks for the library's inside.
pub(super) fn tls_error(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
