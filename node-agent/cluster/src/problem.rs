//! What went wrong with the API server, in words, and what to do about it.

use std::error::Error as _;
use std::time::Duration;

use crate::access::AccessError;

/// Why a request, or a watch, failed. All of it is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// There is no way to ask.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// It took too long.
    #[error("the API server does not answer within {0:?}")]
    Late(Duration),
    /// It says no.
    #[error("the API server says {code}: {message}{advice}")]
    Says {
        /// The status.
        code: u16,
        /// In its words.
        message: String,
        /// What to do.
        advice: &'static str,
    },
    /// It could not be asked, or cannot be understood.
    #[error("{0}")]
    Connection(String),
    /// The answer lacks what every answer has.
    #[error("the API server's list has no resourceVersion, so it cannot be followed")]
    NoVersion,
    /// It ended half-way.
    #[error("the API server ended its list before it was complete")]
    Cut,
    /// The watch ended as soon as it began.
    #[error("the API server ends each watch at once")]
    EndsAtOnce,
}

impl Problem {
    /// The version from which to go on is too old: everything must be listed again.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Says { code: 410, .. })
    }

    /// The credentials were refused; those on disk may be newer.
    pub(crate) fn is_refused(&self) -> bool {
        matches!(self, Self::Says { code: 401, .. })
    }

    /// The API server does not know this kind of request.
    pub(crate) fn is_unknown_request(&self) -> bool {
        matches!(
            self,
            Self::Says {
                code: 400 | 405 | 422,
                ..
            }
        )
    }

    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Says { code: 404, .. })
    }

    pub(crate) fn says(code: u16, message: String) -> Self {
        let advice = match code {
            401 => "; the agent's token is not accepted: it is read again",
            403 => {
                "; the agent's service account needs the rights to get, list and watch pods and \
                 namespaces, to patch pods/status and to create events"
            }
            _ => "",
        };
        Self::Says {
            code,
            message,
            advice,
        }
    }
}

impl From<kube::Error> for Problem {
    fn from(error: kube::Error) -> Self {
        if let kube::Error::Api(status) = error {
            return Self::says(status.code, status.message);
        }
        // The outermost text says little, the innermost says what the kernel or the peer did.
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let inner_text = inner.to_string();
            if !text.contains(&inner_text) {
                text = format!("{text}: {inner_text}");
            }
            cause = inner.source();
        }
        Self::Connection(text)
    }
}

/// Waits for an answer, but not for ever.
pub(crate) async fn within<T>(
    limit: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer.map_err(Problem::from),
        Err(_) => Err(Problem::Late(limit)),
    }
}
