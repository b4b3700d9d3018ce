//! The mesh's own authority: istiod, which signs for the workloads of the node whose agent asks.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use prost::Message;
use tunnel_control::protobuf::Struct;
use tunnel_control::{Connection, Connector, ControlError, WeakConnection};

use crate::authority::{CaError, CertificateAuthority, SignedChain, Signing, SigningRequest};

const METHOD: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// By which istiod knows whose certificate a node's agent asks for.
const ON_BEHALF_OF: &str = "ImpersonatedIdentity";

/// Field numbers are those of Istio's `ca.proto`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CertificateRequest {
    #[prost(string, tag = "1")]
    pub(crate) csr: String,
    /// Seconds.
    #[prost(int64, tag = "3")]
    pub(crate) validity_duration: i64,
    #[prost(message, optional, tag = "4")]
    pub(crate) metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct CertificateResponse {
    /// Leaf, intermediates, and last the bundle of roots, each PEM.
    #[prost(string, repeated, tag = "1")]
    pub(crate) cert_chain: Vec<String>,
}

/// Asks istiod. Requests that are under way at one time share a connection; with the last of them
/// it ends, so that the next is made with the roots, the address and the token of its own time.
#[derive(Debug)]
pub struct IstiodCa {
    connector: Connector,
    shared: Mutex<WeakConnection>,
}

impl IstiodCa {
    /// An authority behind this way. Nothing is asked yet.
    #[must_use]
    pub fn new(connector: Connector) -> Self {
        Self {
            connector,
            shared: Mutex::default(),
        }
    }

    /// Requests that begin together may each make a connection; the last one is shared.
    async fn connection(&self) -> Result<Connection, ControlError> {
        if let Some(shared) = self.with_shared(|shared| shared.usable()) {
            return Ok(shared);
        }
        let made = self.connector.connect().await?;
        self.with_shared(|shared| *shared = made.downgrade());
        Ok(made)
    }

    fn with_shared<T>(&self, look: impl FnOnce(&mut WeakConnection) -> T) -> T {
        // One word, replaced whole: a panic elsewhere does not spoil it.
        look(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn ask(&self, request: SigningRequest) -> Result<SignedChain, CaError> {
        let connection = self.connection().await.map_err(ca_error)?;
        let question = CertificateRequest {
            csr: request.csr_pem,
            validity_duration: i64::try_from(request.ttl.as_secs()).unwrap_or(i64::MAX),
            metadata: Some(Struct::of([(ON_BEHALF_OF, request.identity.as_str())])),
        };
        let answer: CertificateResponse =
            connection.ask(METHOD, question).await.map_err(ca_error)?;
        SignedChain::from_pem_list(&answer.cert_chain)
            .map_err(|why| CaError::Malformed(why.to_string()))
    }
}

impl CertificateAuthority for IstiodCa {
    fn sign(&self, request: SigningRequest) -> Signing<'_> {
        Box::pin(self.ask(request))
    }

    fn root_file(&self) -> Option<&Path> {
        Some(&self.connector.settings().root_cert_file)
    }
}

/// Whose fault it is. A refusal is worth another attempt: istiod refuses a workload of which it has
/// not heard yet.
fn ca_error(why: ControlError) -> CaError {
    match why {
        ControlError::Refused { code, message } => CaError::Refused(format!(
            "{message} ({code}); it asks the API server whether the token is of the agent's own pod \
             and has not expired, and signs for pods that it knows on this node"
        )),
        ControlError::Failed { code, message } => CaError::Internal(format!("{message} ({code})")),
        other => CaError::Unreachable(other.to_string()),
    }
}
