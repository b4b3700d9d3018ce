use std::sync::Arc;

use tunnel_model::{Action, Parties, Policy, PolicyKey, Scope, Snapshot, Workload};

use crate::policy::{AllowedBy, PolicyFacts, applies, enforce};
use crate::{Refusal, RefusalReason};

/// The policies in force for a workload in one snapshot: all that the verdict on a connection,
/// once it is made, goes on to depend on. As long as it is the same nobody has to be judged anew.
#[derive(Debug, Clone, Default)]
pub struct InForce {
    policies: Vec<Arc<Policy>>,
    /// Of a workload of which discovery has not told: those that may select it.
    possible: Vec<Arc<Policy>>,
    told: Told,
    missing: Vec<PolicyKey>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Workload,
    /// Only policies.
    Policies,
    Nothing,
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

    /// Those for a workload of this node that discovery has not told of. It is discovery that says
    /// which policies select a workload; until then any that may do so is taken into account, those
    /// of its namespace and of the mesh's root. Nobody is let through whom discovery's word, whatever
    /// it will be, would refuse by what is known now.
    #[must_use]
    pub fn untold(snapshot: &Snapshot, own: &Workload, root_namespace: &str) -> Self {
        let in_force = Self::of(snapshot, own);
        let reaches = |policy: &&Arc<Policy>| {
            let namespace = &*policy.namespace;
            policy.scope == Scope::WorkloadSelector
                && !policy.dry_run
                && (*namespace == *own.namespace || namespace == root_namespace)
        };
        Self {
            possible: snapshot.policies().filter(reaches).cloned().collect(),
            told: if snapshot.is_told() {
                Told::Policies
            } else {
                Told::Nothing
            },
            ..in_force
        }
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
        self.told == other.told
            && self.missing == other.missing
            && same(&self.policies, &other.policies)
            && same(&self.possible, &other.possible)
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
    pub fn judge(&self, facts: &PolicyFacts<'_>, missing: Missing) -> Result<(), Box<Refusal>> {
        let refused = |reason| {
            let reason = RefusalReason::PolicyChange(Box::new(reason));
            Box::new(Refusal::new(reason, Parties::default()))
        };
        self.verdict(facts, missing).map(drop).map_err(refused)
    }

    pub(crate) fn verdict(
        &self,
        facts: &PolicyFacts<'_>,
        missing: Missing,
    ) -> Result<AllowedBy, RefusalReason> {
        if let (Missing::Refuse, Some(key)) = (missing, self.missing.first()) {
            return Err(RefusalReason::PolicyMissing(key.clone()));
        }
        if self.told == Told::Workload {
            return enforce(&self.policies.iter(), facts);
        }
        let untold = |reason| RefusalReason::Untold(Box::new(reason));
        if self.told == Told::Nothing {
            return Err(untold(RefusalReason::NotAllowed));
        }
        self.whatever_selects(facts).map_err(untold)
    }

    /// The verdict that holds whichever of the possible policies select the workload.
    fn whatever_selects(&self, facts: &PolicyFacts<'_>) -> Result<AllowedBy, RefusalReason> {
        let possible = |action: Action| {
            let is = move |policy: &&Arc<Policy>| policy.action == action;
            self.possible.iter().filter(is)
        };
        let by = enforce(&self.policies.iter().chain(possible(Action::Deny)), facts)?;
        // One that lets others through than this one keeps it out if it is the only one to do so.
        let kept_out = by == AllowedBy::NoPolicy
            && possible(Action::Allow).any(|policy| !applies(policy, facts));
        if kept_out {
            return Err(RefusalReason::NotAllowed);
        }
        Ok(by)
    }
}

fn same(one: &[Arc<Policy>], other: &[Arc<Policy>]) -> bool {
    let equal =
        |(one, other): (&Arc<Policy>, &Arc<Policy>)| Arc::ptr_eq(one, other) || one == other;
    one.len() == other.len() && one.iter().zip(other).all(equal)
}
