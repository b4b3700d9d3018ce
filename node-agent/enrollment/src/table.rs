//! All attachments of the node's pods, each with its record and its stage.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::life::{Event, Obligation, OutOfOrder, Stage, Step};
use crate::record::{AttachmentKey, Phase, PodKey, PodRecord, PodRef, Recorded, Snapshot};

/// One attachment in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What is known of it.
    pub record: Arc<PodRecord>,
    /// Where it is.
    pub stage: Stage,
    /// Whether the plugin was told that the pod may start.
    pub admitted: bool,
}

impl Entry {
    fn recorded(&self) -> Recorded {
        Recorded {
            record: Arc::clone(&self.record),
            admitted: self.admitted,
            phase: self.stage.phase(),
        }
    }
}

/// What an attachment met when it entered the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Begun {
    /// The same attachment was there already: the runtime tries again without a DEL in between.
    pub replaced: Option<Entry>,
    /// Attachments of the same pod in another network namespace: an earlier sandbox, which the
    /// new one replaces once it is enrolled.
    pub older: Vec<AttachmentKey>,
}

/// A command that does not fit the table: the agent's own fault or an attachment already gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// No such attachment.
    #[error("attachment {0} is not in the table")]
    NotThere(AttachmentKey),
    /// The event does not fit the attachment's stage.
    #[error("attachment {0}: {1}")]
    OutOfOrder(AttachmentKey, #[source] OutOfOrder),
}

/// The table. It has one owner; others see snapshots.
#[derive(Debug, Clone, Default)]
pub struct Table {
    entries: BTreeMap<AttachmentKey, Entry>,
    by_pod: BTreeMap<PodKey, Vec<AttachmentKey>>,
}

impl Table {
    /// Enters an attachment that the runtime adds.
    pub fn begin(&mut self, record: Arc<PodRecord>) -> Begun {
        self.enter(Entry {
            record,
            stage: Stage::Opening,
            admitted: false,
        })
    }

    /// Enters an attachment of a pod that runs already.
    pub fn begin_joining(&mut self, record: Arc<PodRecord>) -> Begun {
        self.enter(Entry {
            record,
            stage: Stage::Joining(Step::Certificate),
            admitted: false,
        })
    }

    /// Enters an attachment that was there before a restart.
    pub fn begin_restoring(&mut self, recorded: Recorded) -> Begun {
        let Recorded {
            record,
            admitted,
            phase,
        } = recorded;
        self.enter(Entry {
            record,
            stage: match phase {
                Phase::In => Stage::Restoring,
                Phase::Out => Stage::Draining,
            },
            admitted,
        })
    }

    /// Notes that another plan is in force for an attachment.
    ///
    /// # Errors
    /// When the attachment is not there.
    pub fn replan(
        &mut self,
        key: &AttachmentKey,
        plan: serde_json::Value,
    ) -> Result<Arc<PodRecord>, TableError> {
        let entry = self.entries.get_mut(key);
        let entry = entry.ok_or_else(|| TableError::NotThere(key.clone()))?;
        entry.record = Arc::new(PodRecord {
            plan,
            ..PodRecord::clone(&entry.record)
        });
        Ok(Arc::clone(&entry.record))
    }

    fn enter(&mut self, entry: Entry) -> Begun {
        let record = Arc::clone(&entry.record);
        let key = record.attachment.clone();
        let replaced = self.remove(&key);
        let siblings = self.by_pod.entry(record.pod.key()).or_default();
        let older = siblings
            .iter()
            .filter(|sibling| {
                self.entries
                    .get(sibling)
                    .is_some_and(|entry| entry.record.namespace_id != record.namespace_id)
            })
            .cloned()
            .collect();
        siblings.push(key.clone());
        self.entries.insert(key, entry);
        Begun { replaced, older }
    }

    /// Moves an attachment on; one that is [`Stage::Gone`] leaves the table.
    ///
    /// # Errors
    /// When the attachment is not there or the event does not fit; the table is unchanged then.
    pub fn advance(&mut self, key: &AttachmentKey, event: Event) -> Result<Stage, TableError> {
        let shared = self.shares_its_namespace(key);
        let entry = self
            .entries
            .get_mut(key)
            .ok_or_else(|| TableError::NotThere(key.clone()))?;
        let mut next = entry
            .stage
            .clone()
            .on(event)
            .map_err(|refused| TableError::OutOfOrder(key.clone(), refused))?;
        if let (Stage::Leaving(obligations), true) = (&mut next, shared) {
            // Rules and listeners still serve the pod's other attachment.
            obligations.retain(|obligation| match obligation {
                Obligation::RemoveRules | Obligation::CloseListeners => false,
                Obligation::ReleaseCertificate | Obligation::ForgetRecord => true,
            });
        }
        entry.stage = next.clone();
        entry.admitted |= matches!(next, Stage::Enrolled(_));
        if next == Stage::Gone {
            self.remove(key);
        }
        Ok(next)
    }

    /// One attachment.
    #[must_use]
    pub fn get(&self, key: &AttachmentKey) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// All attachments.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The attachments of one pod, oldest first.
    #[must_use]
    pub fn attachments_of(&self, pod: &PodKey) -> &[AttachmentKey] {
        self.by_pod.get(pod).map_or(&[], Vec::as_slice)
    }

    /// The attachment of this pod that was found running, if it is under an assumed name: the runtime,
    /// which deletes it, uses another.
    #[must_use]
    pub fn assumed_of(&self, pod: &PodRef, ifname: &str) -> Option<&Entry> {
        self.entries.values().find(|entry| {
            let record = &entry.record;
            record.attachment.is_assumed()
                && record.attachment.ifname == ifname
                && record.pod.may_be(pod)
        })
    }

    /// Attachments that the runtime no longer has, given all that it has. Of those under an assumed
    /// name it cannot be told.
    #[must_use]
    pub fn missing_from(&self, valid: &[AttachmentKey]) -> Vec<AttachmentKey> {
        self.entries
            .keys()
            .filter(|key| !key.is_assumed() && !valid.contains(key))
            .cloned()
            .collect()
    }

    /// What a restart must bring back.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let recorded = self
            .entries
            .values()
            .filter(|entry| entry.stage.is_recorded());
        Snapshot::of(recorded.map(Entry::recorded).collect())
    }

    fn shares_its_namespace(&self, key: &AttachmentKey) -> bool {
        let Some(entry) = self.entries.get(key) else {
            return false;
        };
        self.attachments_of(&entry.record.pod.key())
            .iter()
            .any(|sibling| {
                sibling != key
                    && self.entries.get(sibling).is_some_and(|other| {
                        other.record.namespace_id == entry.record.namespace_id
                            && !matches!(other.stage, Stage::Leaving(_) | Stage::Gone)
                    })
            })
    }

    fn remove(&mut self, key: &AttachmentKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        let pod = entry.record.pod.key();
        if let Some(siblings) = self.by_pod.get_mut(&pod) {
            siblings.retain(|sibling| sibling != key);
            if siblings.is_empty() {
                self.by_pod.remove(&pod);
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests;
