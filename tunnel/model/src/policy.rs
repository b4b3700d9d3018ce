//! L4 authorization policies (`istio.security.Authorization`), as they are written.

use std::fmt;
use std::sync::Arc;

use ipnetwork::IpNetwork;

/// `namespace/name` of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
}

impl fmt::Display for PolicyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// To which workloads a policy applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PolicyScope {
    /// All of the mesh.
    Global,
    /// All of its namespace.
    #[default]
    Namespace,
    /// Those that name it.
    WorkloadSelector,
}

/// What a match means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PolicyAction {
    /// Allowed, and everything that no ALLOW policy matches is denied.
    #[default]
    Allow,
    /// Denied.
    Deny,
}

/// One policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Name.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Scope.
    pub scope: PolicyScope,
    /// Action.
    pub action: PolicyAction,
    /// Whether it is only logged.
    pub dry_run: bool,
    /// Its rules, of which one must match.
    pub rules: PolicyRules,
}

impl Policy {
    /// Its key.
    #[must_use]
    pub fn key(&self) -> PolicyKey {
        PolicyKey {
            namespace: Arc::clone(&self.namespace),
            name: Arc::clone(&self.name),
        }
    }
}

/// Rules, or why there are none that could be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyRules {
    /// Rules as written. None at all never match.
    Valid(Vec<Rule>),
    /// They could not be read: a DENY then matches everything it applies to, an ALLOW nothing.
    Malformed {
        /// What is wrong.
        why: Arc<str>,
    },
}

impl Default for PolicyRules {
    fn default() -> Self {
        Self::Valid(Vec::new())
    }
}

/// All clauses must match; a rule without any matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The clauses.
    pub clauses: Vec<Clause>,
}

/// One of the matches must match; a clause without any matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clause {
    /// The matches.
    pub matches: Vec<Match>,
}

/// Every list that is not empty must hold: of a positive list one element, of a negative list
/// none. A match with nothing in it never matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Namespace of the source's identity.
    pub namespaces: Vec<StringMatch>,
    /// Negated.
    pub not_namespaces: Vec<StringMatch>,
    /// Source's identity without `spiffe://`.
    pub principals: Vec<StringMatch>,
    /// Negated.
    pub not_principals: Vec<StringMatch>,
    /// Client's address.
    pub source_ips: Vec<IpNetwork>,
    /// Negated.
    pub not_source_ips: Vec<IpNetwork>,
    /// Address of the pod.
    pub destination_ips: Vec<IpNetwork>,
    /// Negated.
    pub not_destination_ips: Vec<IpNetwork>,
    /// Port of the pod.
    pub destination_ports: Vec<u16>,
    /// Negated.
    pub not_destination_ports: Vec<u16>,
    /// Namespace and service account of the source's identity, whatever its trust domain.
    pub service_accounts: Vec<ServiceAccountMatch>,
    /// Negated.
    pub not_service_accounts: Vec<ServiceAccountMatch>,
}

/// How a text is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatch {
    /// Equal.
    Exact(Arc<str>),
    /// Begins with.
    Prefix(Arc<str>),
    /// Ends with.
    Suffix(Arc<str>),
    /// Is not empty.
    Presence,
}

/// A service account of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountMatch {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Service account.
    pub service_account: Arc<str>,
}
