use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

const SCHEME: &str = "spiffe://";

/// A workload's SPIFFE identity, `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
///
/// Clones share one text, and every part is a slice of it, so that an identity can be passed to
/// every connection for the price of a reference count.
#[derive(Clone)]
pub struct Identity {
    text: Arc<str>,
    trust_domain_end: u16,
    namespace_end: u16,
}

/// Why a text or its parts are not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The text does not have the one accepted shape.
    #[error(
        "{0:?} is not a workload identity: it must be spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT"
    )]
    Shape(String),
    /// A part is empty, too long, or has a character that could be read as another part.
    #[error(
        "{value:?} cannot be the {part} of an identity: 1 to 253 letters, digits, '.', '-' or '_' are allowed"
    )]
    Part {
        /// Which part.
        part: &'static str,
        /// What it was.
        value: String,
    },
}

impl Identity {
    /// Makes an identity of its three parts.
    ///
    /// # Errors
    /// When a part is empty, longer than 253 bytes, or holds a character outside the SPIFFE set:
    /// a slash in a namespace would make two different identities look the same.
    pub fn new(
        trust_domain: &str,
        namespace: &str,
        service_account: &str,
    ) -> Result<Self, IdentityError> {
        check_part("trust domain", trust_domain)?;
        check_part("namespace", namespace)?;
        check_part("service account", service_account)?;
        let text: Arc<str> =
            format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{service_account}").into();
        Ok(Self::sliced(text, trust_domain.len(), namespace.len()))
    }

    fn sliced(text: Arc<str>, trust_domain: usize, namespace: usize) -> Self {
        // Each part is at most 253 bytes, so the sums cannot leave u16.
        let trust_domain_end = u16::try_from(SCHEME.len() + trust_domain).unwrap_or(u16::MAX);
        let namespace_end =
            trust_domain_end.saturating_add(u16::try_from(4 + namespace).unwrap_or(u16::MAX));
        Self {
            text,
            trust_domain_end,
            namespace_end,
        }
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..usize::from(self.trust_domain_end)]
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.text[usize::from(self.trust_domain_end) + 4..usize::from(self.namespace_end)]
    }

    /// The service account.
    #[must_use]
    pub fn service_account(&self) -> &str {
        &self.text[usize::from(self.namespace_end) + 4..]
    }

    /// The identity without `spiffe://`, the form policies compare with.
    #[must_use]
    pub fn principal(&self) -> &str {
        &self.text[SCHEME.len()..]
    }

    /// Whether there are other clones.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.text) > 1
    }

    /// The whole identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn check_part(part: &'static str, value: &str) -> Result<(), IdentityError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let dots = value == "." || value == "..";
    if value.is_empty() || value.len() > 253 || dots || !value.bytes().all(allowed) {
        return Err(IdentityError::Part {
            part,
            value: value.chars().take(300).collect(),
        });
    }
    Ok(())
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let shape = || IdentityError::Shape(text.chars().take(300).collect());
        let path = text.strip_prefix(SCHEME).ok_or_else(shape)?;
        let mut parts = path.split('/');
        let mut next = || parts.next().ok_or_else(shape);
        let (trust_domain, ns, namespace, sa, service_account) =
            (next()?, next()?, next()?, next()?, next()?);
        if ns != "ns" || sa != "sa" || parts.next().is_some() {
            return Err(shape());
        }
        Self::new(trust_domain, namespace, service_account)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.text, &other.text) || self.text == other.text
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialOrd for Identity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Identity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(&other.text)
    }
}
