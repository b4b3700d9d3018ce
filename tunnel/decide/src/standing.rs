use std::sync::Arc;

use tunnel_model::{Parties, Policy, PolicyKey, Snapshot, Workload};

use crate::policy::{PolicyFacts, enforce};
use crate::{Refusal, RefusalReason};

/// The policies in force for a workload in one snapshot: all that the verdict on a connection,
/// once it is made, goes on to depend on. As long as it is the same nobody has to be judged anew.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    policies: Vec<Arc<Policy>>,
    missing: Vec<PolicyKey>,
}

/// What of policies that are attached to the workload and have not been received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// They are on their way: the name of a policy and the policy come in either order, and go so.
    Awaited,
    /// They refuse everything.
    Refuse,
}

impl InForce {
    /// Those for `own`, which must be the workload as the snapshot knows it. Policies that only
    /// warn are not among them: they never end a connection.
    #[must_use]
    pub fn of(snapshot: &Snapshot, own: &Workload) -> Self {
        let mut in_force = Self::default();
        for policy in snapshot.policies_for(own) {
            match policy {
                Ok(policy) if policy.dry_run => {}
                Ok(policy) => in_force.policies.push(Arc::clone(policy)),
                Err(key) => in_force.missing.push(key.clone()),
            }
        }
        in_force
    }

    /// The same without what is missing.
    #[must_use]
    pub fn received(mut self) -> Self {
        self.missing.clear();
        self
    }

    /// Whether nobody can be judged differently by the one than by the other. Cheap where nothing
    /// was told anew, because then the policies are the very same.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        let equal =
            |(one, other): (&Arc<Policy>, &Arc<Policy>)| Arc::ptr_eq(one, other) || one == other;
        self.policies.len() == other.policies.len()
            && self.missing == other.missing
            && self.policies.iter().zip(&other.policies).all(equal)
    }

    /// Whether a policy is attached that has not been received.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Judges a connection that is made.
    ///
    /// # Errors
    /// Why it would be refused now.
    pub fn judge(&self, facts: &PolicyFacts<'_>, missing: Missing) -> Result<(), Refusal> {
        let refused = |reason| {
            let reason = RefusalReason::PolicyChange(Box::new(reason));
            Refusal::new(reason, Parties::default())
        };
        if let (Missing::Refuse, Some(key)) = (missing, self.missing.first()) {
            return Err(refused(RefusalReason::PolicyMissing(key.clone())));
        }
        enforce(self.policies.iter(), facts)
            .map(drop)
            .map_err(refused)
    }
}
