//! What has to change for the pods that run, so that those of the mesh are in it and no others.

use crate::decide::{Decision, Member, decide};
use crate::life::Stage;
use crate::record::{AttachmentKey, PodRecord, PodRef};
use crate::roster::{ListedPod, Place, Roster, Source};
use crate::table::Entry;

/// What is to be done about one pod, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The pod.
    pub pod: PodRef,
    /// What to do.
    pub action: Action,
    /// Why, for the operator.
    pub reason: String,
}

/// What is to be done about a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Take it in while it runs.
    Enrol(Member, Place),
    /// Capture it again: it drains, but belongs to the mesh.
    Rejoin(AttachmentKey),
    /// Take it out while it runs.
    Unenrol(AttachmentKey),
    /// It belongs to the mesh and waits for the runtime to add it.
    Await,
    /// It is where it belongs, or on its way, or it cannot be told.
    Nothing,
}

/// Compares the roster with the table. What it says depends on nothing that was before, so a
/// change that was missed or failed is found by comparing again.
#[must_use]
pub fn changes(roster: &Roster, excluded_namespaces: &[String], table: &[Entry]) -> Vec<Change> {
    let enrolled = table
        .iter()
        .map(|entry| of_entry(roster, excluded_namespaces, entry));
    let listed = roster
        .pods()
        .filter_map(|listed| of_listed(roster, excluded_namespaces, table, listed));
    enrolled.chain(listed).collect()
}

/// What the roster says of a pod that the table has.
fn of_entry(roster: &Roster, excluded_namespaces: &[String], entry: &Entry) -> Change {
    let record = &entry.record;
    let key = record.attachment.clone();
    let (action, reason) = match decide(Some(roster), excluded_namespaces, &record.pod) {
        Decision::InMesh(member) => match entry.stage {
            Stage::Draining => (Action::Rejoin(key), member.reason),
            _ => (Action::Nothing, member.reason),
        },
        Decision::NotInMesh { reason } => match entry.stage {
            Stage::Enrolled(_) => (Action::Unenrol(key), reason),
            _ => (Action::Nothing, reason),
        },
        Decision::Unknown { reason } => (Action::Nothing, reason),
    };
    Change {
        pod: record.pod.clone(),
        action,
        reason,
    }
}

/// What to do about a pod that is listed; nothing is said of those the table has.
fn of_listed(
    roster: &Roster,
    excluded_namespaces: &[String],
    table: &[Entry],
    listed: &ListedPod,
) -> Option<Change> {
    let pod = listed.reference();
    let Decision::InMesh(member) = decide(Some(roster), excluded_namespaces, &pod) else {
        return None;
    };
    let place = listed.place();
    let mut known = table
        .iter()
        .filter(|entry| entry.record.pod.may_be(&pod))
        .peekable();
    let is_new = known.peek().is_none();
    let is_from_file = roster.source() == Source::File;
    // What was found running was found a while ago, and what the runtime added is newer. And one that
    // has no address yet is being added.
    if !is_from_file && (!is_new || listed.addresses.is_empty()) {
        return None;
    }
    if known.any(|entry| is_there(entry, place.as_ref())) {
        return None;
    }
    let reason = match &place {
        Some(_) if is_new => member.reason.clone(),
        Some(_) => format!(
            "it runs in another sandbox than the one enrolled, and {}",
            member.reason
        ),
        None => {
            let missing = if is_from_file {
                "the pods file does not say where it runs; it is enrolled when the runtime adds it"
            } else {
                "it was not found on the node yet; it is enrolled once it is, or when the runtime \
                 adds it"
            };
            format!("{}, but {missing}", member.reason)
        }
    };
    let action = place.map_or(Action::Await, |place| Action::Enrol(member, place));
    Some(Change {
        pod,
        action,
        reason,
    })
}

/// Whether an entry is of the sandbox that is listed, as far as can be told, or is still on its
/// way: what the runtime adds just now is newer than any list.
fn is_there(entry: &Entry, place: Option<&Place>) -> bool {
    let Some(place) = place else { return true };
    let record: &PodRecord = &entry.record;
    !matches!(entry.stage, Stage::Enrolled(_))
        || record.attachment == place.attachment
        || record.netns.as_ref() == Some(&place.netns)
}

#[cfg(test)]
mod tests;
