use std::collections::HashMap;
use std::sync::Arc;

use crate::{Policy, PolicyKey, Scope};

/// All policies, by what they apply to. Made anew when one of them changes.
#[derive(Debug, Default)]
pub(super) struct Policies {
    all: Vec<Arc<Policy>>,
    by_key: HashMap<PolicyKey, usize>,
    global: Vec<Arc<Policy>>,
    of_namespace: HashMap<Arc<str>, Vec<Arc<Policy>>>,
}

impl Policies {
    /// Of one key the last one counts.
    pub(super) fn new(policies: impl IntoIterator<Item = Arc<Policy>>) -> Self {
        let mut made = Self::default();
        for policy in policies {
            let at = *made.by_key.entry(policy.key()).or_insert(made.all.len());
            match made.all.get_mut(at) {
                Some(known) => *known = policy,
                None => made.all.push(policy),
            }
        }
        for policy in &made.all {
            match policy.scope {
                Scope::Global => made.global.push(Arc::clone(policy)),
                Scope::Namespace => {
                    let namespace = Arc::clone(&policy.namespace);
                    let own = made.of_namespace.entry(namespace).or_default();
                    own.push(Arc::clone(policy));
                }
                Scope::WorkloadSelector => {}
            }
        }
        made
    }

    pub(super) fn all(&self) -> &[Arc<Policy>] {
        &self.all
    }

    pub(super) fn by_key(&self, key: &PolicyKey) -> Option<&Arc<Policy>> {
        self.all.get(*self.by_key.get(key)?)
    }

    /// Those that apply without being named.
    pub(super) fn by_scope(&self, namespace: &str) -> impl Iterator<Item = &Arc<Policy>> + Clone {
        let own = self.of_namespace.get(namespace);
        self.global.iter().chain(own.map_or(&[][..], Vec::as_slice))
    }
}
