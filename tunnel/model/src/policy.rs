use std::sync::Arc;

use crate::{Match, PolicyKey};

/// What a policy applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Every workload.
    Global,
    /// Every workload of its namespace.
    Namespace,
    /// The workloads that name it.
    WorkloadSelector,
}

/// What a policy does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Lets it through; whatever no such policy matches is then refused.
    Allow,
    /// Refuses it.
    Deny,
}

/// Clauses all of which must match; none matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// The clauses.
    pub clauses: Vec<Clause>,
}

/// Matches one of which must hold; none holds always.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Clause {
    /// The matches.
    pub matches: Vec<Match>,
}

/// The rules of a policy, as far as they could be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyRules {
    /// Rules one of which must match; none never matches.
    Valid(Vec<Rule>),
    /// Not understood: to refuse with, it matches everything; to let through, nothing.
    Malformed {
        /// What was not understood.
        why: Arc<str>,
    },
}

/// One L4 authorization policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// What it applies to.
    pub scope: Scope,
    /// What it does.
    pub action: Action,
    /// When it does so.
    pub rules: PolicyRules,
    /// Whether its verdict is only logged.
    pub dry_run: bool,
}

impl Policy {
    /// What names it.
    #[must_use]
    pub fn key(&self) -> PolicyKey {
        PolicyKey::new(Arc::clone(&self.namespace), Arc::clone(&self.name))
    }
}
