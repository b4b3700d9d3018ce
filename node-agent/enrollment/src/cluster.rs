//! What the API server was heard to say, as one state: notices go in, a roster comes out.
//!
//! ```text
//!            Relisting            Listed, Applied         Complete
//!   whole ─────────────► listing ─────────────────► listing ───────► whole
//!                         └── broken off: Relisting again, nothing was forgotten
//! ```
//!
//! What was known stays known until a list without it is complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::facts::{NamespaceFacts, PodFacts, Rules};
use crate::record::AttachmentKey;
use crate::roster::{ListedPod, Progress, Roster, Source};
use crate::selectors::Labels;

/// Something that was heard of one kind of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice<T> {
    /// A list begins.
    Relisting,
    /// This is in the list.
    Listed(T),
    /// The list is complete: what was not in it is gone.
    Complete,
    /// This is new, or has changed.
    Applied(T),
    /// This is gone.
    Deleted(T),
}

/// Something that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Of pods of this node.
    Pod(Notice<PodFacts>),
    /// Of namespaces.
    Namespace(Notice<NamespaceFacts>),
    /// Where a pod runs, as the node shows it.
    Found {
        /// The pod's uid on the node.
        uid: String,
        /// Where, if it was found.
        place: Option<FoundPlace>,
    },
}

/// Where a pod was found to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPlace {
    /// A path of its network namespace that lasts as long as the sandbox.
    pub netns: String,
    /// The sandbox's id, if it could be told.
    pub sandbox: Option<String>,
}

/// Whether a notice changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The roster is another one.
    Changed,
    /// It is the same.
    None,
}

/// How many objects are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Pods of this node.
    pub pods: usize,
    /// Namespaces.
    pub namespaces: usize,
}

/// All that was heard.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    rules: Rules,
    pods: Known<(String, String), ListedPod>,
    namespaces: Known<String, Labels>,
}

impl Cluster {
    /// Nothing was heard yet.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    /// Takes note of a fact.
    pub fn apply(&mut self, fact: Fact) -> Effect {
        match fact {
            Fact::Pod(notice) => self.pod(notice),
            Fact::Namespace(notice) => {
                let selectors = &self.rules.selectors;
                self.namespaces.apply(notice.map(|facts| {
                    let NamespaceFacts { name, mut labels } = facts;
                    selectors.keep_what_is_asked_for(&mut labels);
                    (name, labels)
                }))
            }
            Fact::Found { uid, place } => self.found(&uid, place),
        }
    }

    /// What is known now.
    #[must_use]
    pub fn roster(&self) -> Roster {
        let whole = self.pods.was_complete && self.namespaces.was_complete;
        Roster {
            source: Source::Kubernetes(if whole {
                Progress::Whole
            } else {
                Progress::Partial
            }),
            selectors: Arc::clone(&self.rules.selectors),
            namespaces: Arc::clone(&self.namespaces.all),
            pods: Arc::clone(&self.pods.all),
        }
    }

    /// How much that is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            pods: self.pods.all.len(),
            namespaces: self.namespaces.all.len(),
        }
    }

    fn pod(&mut self, notice: Notice<PodFacts>) -> Effect {
        let rules = &self.rules;
        let before = Arc::clone(&self.pods.all);
        let notice = notice.map(|facts| {
            let mut listed = rules.listed(facts);
            let key = (listed.namespace.clone(), listed.name.clone());
            // Where it runs was not heard from the API server, so that does not know better.
            if let Some(known) = before.get(&key).filter(|known| known.uid == listed.uid) {
                listed.netns.clone_from(&known.netns);
                listed.container_id.clone_from(&known.container_id);
            }
            (key, listed)
        });
        // A pod of the same name may have come already.
        if let Notice::Deleted((key, gone)) = &notice
            && before.get(key).is_some_and(|known| known.uid != gone.uid)
        {
            return Effect::None;
        }
        // Or the map would have two owners, and be copied.
        drop(before);
        self.pods.apply(notice)
    }

    fn found(&mut self, uid: &str, place: Option<FoundPlace>) -> Effect {
        let is_it = |listed: &&ListedPod| listed.uid.as_deref() == Some(uid);
        let Some(listed) = self.pods.all.values().find(is_it) else {
            return Effect::None;
        };
        let mut placed = listed.clone();
        placed.netns = place.as_ref().map(|place| place.netns.clone());
        placed.container_id = place.map(|place| {
            let assumed = || AttachmentKey::assumed(uid, &listed.ifname).container_id;
            place.sandbox.unwrap_or_else(assumed)
        });
        if placed == *listed {
            return Effect::None;
        }
        let key = (placed.namespace.clone(), placed.name.clone());
        Arc::make_mut(&mut self.pods.all).insert(key, placed);
        Effect::Changed
    }
}

/// Objects of one kind.
#[derive(Debug, Clone)]
struct Known<K, V> {
    all: Arc<BTreeMap<K, V>>,
    /// What the list that is being read has brought so far.
    listing: Option<BTreeSet<K>>,
    was_complete: bool,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self {
            all: Arc::default(),
            listing: None,
            was_complete: false,
        }
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> Known<K, V> {
    fn apply(&mut self, notice: Notice<(K, V)>) -> Effect {
        match notice {
            Notice::Relisting => {
                self.listing = Some(BTreeSet::new());
                Effect::None
            }
            Notice::Listed((key, value)) | Notice::Applied((key, value)) => {
                if let Some(listing) = &mut self.listing {
                    listing.insert(key.clone());
                }
                if self.all.get(&key) == Some(&value) {
                    return Effect::None;
                }
                Arc::make_mut(&mut self.all).insert(key, value);
                Effect::Changed
            }
            Notice::Deleted((key, _)) => {
                if let Some(listing) = &mut self.listing {
                    listing.remove(&key);
                }
                if !self.all.contains_key(&key) {
                    return Effect::None;
                }
                Arc::make_mut(&mut self.all).remove(&key);
                Effect::Changed
            }
            Notice::Complete => self.complete(),
        }
    }

    fn complete(&mut self) -> Effect {
        // The end of a list that never began says nothing.
        let Some(listing) = self.listing.take() else {
            return Effect::None;
        };
        let is_first = !std::mem::replace(&mut self.was_complete, true);
        let is_gone = |key: &K| !listing.contains(key);
        if self.all.keys().any(is_gone) {
            Arc::make_mut(&mut self.all).retain(|key, _| !is_gone(key));
        } else if !is_first {
            return Effect::None;
        }
        Effect::Changed
    }
}

impl<T> Notice<T> {
    /// The same of something else.
    pub fn map<U>(self, of: impl FnOnce(T) -> U) -> Notice<U> {
        match self {
            Self::Relisting => Notice::Relisting,
            Self::Listed(one) => Notice::Listed(of(one)),
            Self::Complete => Notice::Complete,
            Self::Applied(one) => Notice::Applied(of(one)),
            Self::Deleted(one) => Notice::Deleted(of(one)),
        }
    }
}

#[cfg(test)]
mod tests;
