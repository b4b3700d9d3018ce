use std::sync::Arc;

use tokio::task::JoinError;
use tokio::time::timeout;
use tunnel_model::Identity;

use crate::answer::{self, AnswerError, Asked};
use crate::authority::{CaError, CertificateAuthority, SigningRequest};
use crate::certificate::Certificate;
use crate::key::{Key, KeyError};
use crate::settings::CredentialSettings;
use crate::tls::{self, ConfigError};
use crate::trust::Believed;

/// Why one request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ObtainError {
    #[error("{0}")]
    Key(#[from] KeyError),
    #[error("{0}")]
    Authority(#[from] CaError),
    #[error("the certificate authority did not answer within {0:?}")]
    TimedOut(std::time::Duration),
    #[error("{0}")]
    Answer(#[from] AnswerError),
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("the request was abandoned: {0}")]
    Task(#[from] JoinError),
}

/// One certificate, from the making of its key to its configurations.
pub(crate) async fn obtain(
    settings: Arc<CredentialSettings>,
    authority: Arc<dyn CertificateAuthority>,
    believed: Arc<Believed>,
    identity: Identity,
) -> Result<Certificate, ObtainError> {
    let key = Key::generate()?;
    let request = SigningRequest {
        csr_pem: key.signing_request(&identity)?,
        identity: identity.clone(),
        ttl: settings.ttl,
    };
    let limit = settings.request_timeout;
    let answer = timeout(limit, authority.sign(request))
        .await
        .map_err(|_| ObtainError::TimedOut(limit))??;
    let asked = Asked {
        identity: &identity,
        public_key_info: &key.public_key_info(),
        now: settings.clock.now(),
        skew: settings.clock_skew,
    };
    let accepted = answer::check(answer, &asked)?;
    Ok(tls::certificate(accepted, key, &believed, &settings.clock)?)
}
