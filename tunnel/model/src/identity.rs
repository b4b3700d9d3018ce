//! SPIFFE identities of workloads.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A workload's identity: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    trust_domain: Arc<str>,
    namespace: Arc<str>,
    service_account: Arc<str>,
}

/// Why a text is not an identity of this mesh.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "{text:?} is not an identity: expected spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT"
)]
pub struct ParseIdentityError {
    text: String,
}

impl Identity {
    /// An identity from its three parts.
    #[must_use]
    pub fn new(
        trust_domain: impl Into<Arc<str>>,
        namespace: impl Into<Arc<str>>,
        service_account: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            trust_domain: trust_domain.into(),
            namespace: namespace.into(),
            service_account: service_account.into(),
        }
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The Kubernetes namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The Kubernetes service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        &self.service_account
    }

    /// The identity as policies name it: without `spiffe://`.
    #[must_use]
    pub fn principal(&self) -> String {
        format!(
            "{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "spiffe://{}/ns/{}/sa/{}",
            self.trust_domain, self.namespace, self.service_account
        )
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Identity {
    type Err = ParseIdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| ParseIdentityError {
            text: text.to_owned(),
        })
    }
}

fn parse(text: &str) -> Option<Identity> {
    let mut parts = text.strip_prefix("spiffe://")?.split('/');
    let (domain, ns, namespace) = (parts.next()?, parts.next()?, parts.next()?);
    let (sa, account) = (parts.next()?, parts.next()?);
    let proper = ns == "ns" && sa == "sa" && parts.next().is_none();
    let filled = [domain, namespace, account]
        .iter()
        .all(|part| is_segment(part));
    (proper && filled).then(|| Identity::new(domain, namespace, account))
}

/// What a segment may hold (SPIFFE-ID 2.1, 2.2): no more, so that an identity is safe to print.
fn is_segment(text: &str) -> bool {
    !text.is_empty()
        && text != "."
        && text != ".."
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
