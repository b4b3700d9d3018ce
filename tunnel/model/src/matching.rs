use std::sync::Arc;

use ipnetwork::IpNetwork;

/// How a text is compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StringMatch {
    /// Equal to this.
    Exact(Arc<str>),
    /// Starts with this.
    Prefix(Arc<str>),
    /// Ends with this.
    Suffix(Arc<str>),
    /// Not empty.
    Presence,
}

impl StringMatch {
    /// Whether `text` is what it asks for.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(wanted) => **wanted == *text,
            Self::Prefix(wanted) => text.starts_with(&**wanted),
            Self::Suffix(wanted) => text.ends_with(&**wanted),
            Self::Presence => !text.is_empty(),
        }
    }
}

/// A service account of any trust domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceAccountMatch {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub service_account: Arc<str>,
}

/// What a connection is compared with. Kinds are joined by "and", values of one kind by "or"; a
/// negative list asks that none of its values match. A match with nothing in it never holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Match {
    /// Namespaces of the source's identity.
    pub namespaces: Vec<StringMatch>,
    /// Namespaces it must not have.
    pub not_namespaces: Vec<StringMatch>,
    /// Identities of the source, without `spiffe://`.
    pub principals: Vec<StringMatch>,
    /// Identities it must not have.
    pub not_principals: Vec<StringMatch>,
    /// Addresses of the source.
    pub source_ips: Vec<IpNetwork>,
    /// Addresses it must not have.
    pub not_source_ips: Vec<IpNetwork>,
    /// Addresses of the destination pod.
    pub destination_ips: Vec<IpNetwork>,
    /// Addresses it must not have.
    pub not_destination_ips: Vec<IpNetwork>,
    /// Ports of the destination pod.
    pub destination_ports: Vec<u16>,
    /// Ports it must not be.
    pub not_destination_ports: Vec<u16>,
    /// Service accounts of the source.
    pub service_accounts: Vec<ServiceAccountMatch>,
    /// Service accounts it must not have.
    pub not_service_accounts: Vec<ServiceAccountMatch>,
}

impl Match {
    /// Whether it has nothing in it, and so never holds.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
            && self.not_namespaces.is_empty()
            && self.principals.is_empty()
            && self.not_principals.is_empty()
            && self.source_ips.is_empty()
            && self.not_source_ips.is_empty()
            && self.destination_ips.is_empty()
            && self.not_destination_ips.is_empty()
            && self.destination_ports.is_empty()
            && self.not_destination_ports.is_empty()
            && self.service_accounts.is_empty()
            && self.not_service_accounts.is_empty()
    }
}
