use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tonic::{Code, Status};

/// Why the control plane was not reached, or did not do what it was asked for. Each is tried again
/// by whoever called; the text says what an operator can do meanwhile.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ControlError {
    /// The operator's: the roots cannot be used.
    #[error("cannot use the roots in {}: {why}; see rootCertFile", path.display())]
    RootFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The operator's: the token cannot be used.
    #[error("cannot use the token in {}: {why}; see tokenFile", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The operator's: what should be the server's name is none.
    #[error("{0:?} is neither a host name nor an address")]
    ServerName(String),
    /// The network's or the operator's: the name leads nowhere.
    #[error(
        "cannot resolve {host}: {why}; if the node cannot resolve names of the cluster, give an address"
    )]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        why: String,
    },
    /// The network's or the server's: nobody answers.
    #[error("cannot connect to {address}: {why}")]
    Connect {
        /// Where it was tried last.
        address: SocketAddr,
        /// What the system said.
        why: String,
    },
    /// The network's or the server's: it takes too long.
    #[error("connecting to {host} took longer than {limit:?}")]
    TimedOut {
        /// Whom.
        host: String,
        /// The limit.
        limit: Duration,
    },
    /// The server could not prove who it is, or speaks no TLS.
    #[error("the server is not trusted: {0}")]
    Tls(TlsFault),
    /// The server accepted us and then broke the rules of HTTP/2.
    #[error("the server does not speak HTTP/2: {0}")]
    Http2(String),
    /// The server's word: we may not.
    #[error(
        "the server refused ({code}): {message}; check that the token is of this pod, has not expired, and that the server trusts its service account"
    )]
    Refused {
        /// The gRPC status.
        code: &'static str,
        /// What it said.
        message: String,
    },
    /// The connection ended or the server has no time; no fault of the question.
    #[error("the server is not available ({code}): {message}")]
    Unavailable {
        /// The gRPC status.
        code: &'static str,
        /// What it or the connection said.
        message: String,
    },
    /// The server failed, or does not understand us: versions that do not fit, or a fault of either.
    #[error("the server failed ({code}): {message}")]
    Failed {
        /// The gRPC status.
        code: &'static str,
        /// What it said.
        message: String,
    },
    /// The process is stopping.
    #[error("interrupted: {0}")]
    Interrupted(String),
}

/// Why a server is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFault {
    /// No root of the file signed its certificate.
    Untrusted {
        /// The file.
        roots: PathBuf,
    },
    /// Its certificate is for others.
    OtherName {
        /// The name asked for.
        wanted: String,
    },
    /// Its certificate is out of its time.
    OutOfTime(String),
    /// Anything else.
    Other(String),
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted { roots } => write!(
                f,
                "its certificate is not signed by a root in {}; is the file of this mesh, and up \
                 to date?",
                roots.display()
            ),
            Self::OtherName { wanted } => write!(
                f,
                "its certificate is not for {wanted}; if it has another name, set the server name"
            ),
            Self::OutOfTime(why) => write!(f, "{why}; compare the clocks"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

impl ControlError {
    /// What a gRPC status means to us.
    pub(crate) fn of(status: &Status) -> Self {
        let message = words(status);
        // What a server says has no error of ours beneath it.
        if std::error::Error::source(status).is_some() {
            let code = "connection lost, or no sign of life";
            return Self::Unavailable { code, message };
        }
        let code = name(status.code());
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Self::Refused { code, message },
            Code::Unavailable
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Unknown => Self::Unavailable { code, message },
            _ => Self::Failed { code, message },
        }
    }

    /// A short word for the kind, for counters.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RootFile { .. } | Self::TokenFile { .. } => "file",
            Self::ServerName(_) | Self::Resolve { .. } => "name",
            Self::Connect { .. } | Self::TimedOut { .. } => "connect",
            Self::Tls(_) => "tls",
            Self::Http2(_) => "http2",
            Self::Refused { .. } => "refused",
            Self::Unavailable { .. } => "unavailable",
            Self::Failed { .. } => "failed",
            Self::Interrupted(_) => "interrupted",
        }
    }
}

/// The server's words or those of the connection that failed, as much as a log line bears.
fn words(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text.chars().take(LONGEST_WORDS).collect()
}

const LONGEST_WORDS: usize = 500;

const fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
