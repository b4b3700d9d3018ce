//! What has to change in the annotations by which the control plane learns who is captured.

use crate::facts::REDIRECTION_ANNOTATION;
use crate::life::Stage;
use crate::roster::{Barred, ListedPod, Roster};
use crate::table::Entry;

/// The value that the control plane looks for.
const ENABLED: &str = "enabled";

/// An annotation that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotate {
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid at the API server: another pod of that name must not be annotated.
    pub uid: String,
    /// What the value of [`REDIRECTION_ANNOTATION`] has to be, if there has to be one.
    pub value: Option<&'static str>,
}

impl Annotate {
    /// The annotation.
    pub const KEY: &'static str = REDIRECTION_ANNOTATION;
}

/// Compares what the API server shows with the table. A pod that is on its way in, or is being
/// restored, keeps what it has until it is there.
#[must_use]
pub fn annotations(roster: &Roster, table: &[Entry]) -> Vec<Annotate> {
    roster
        .pods()
        .filter_map(|listed| of_pod(listed, table))
        .collect()
}

fn of_pod(listed: &ListedPod, table: &[Entry]) -> Option<Annotate> {
    let seen = listed.seen.as_ref()?;
    // Nobody looks at those that have ended.
    if seen.barred == Some(Barred::Ended) {
        return None;
    }
    let pod = listed.reference();
    let mut ours = table
        .iter()
        .filter(|entry| entry.record.pod.may_be(&pod))
        .map(|entry| of_stage(&entry.stage))
        .peekable();
    let told = seen.redirection.as_deref();
    let value = if ours.peek().is_none() {
        None
    } else {
        // Of several attachments, one that is captured is enough.
        match ours.max()? {
            Captured::Is => Some(ENABLED),
            Captured::OnItsWay => return None,
            Captured::NotAnyMore => None,
        }
    };
    (told != value).then(|| Annotate {
        namespace: listed.namespace.clone(),
        name: listed.name.clone(),
        uid: seen.uid.clone(),
        value,
    })
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Captured {
    NotAnyMore,
    OnItsWay,
    Is,
}

fn of_stage(stage: &Stage) -> Captured {
    match stage {
        Stage::Enrolled(_) => Captured::Is,
        // Peers must not come by tunnel from now on, or it would never be over.
        Stage::Draining | Stage::Leaving(_) | Stage::Gone => Captured::NotAnyMore,
        _ => Captured::OnItsWay,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use super::*;
    use crate::cluster::{Cluster, Fact, Notice};
    use crate::facts::{PodFacts, PodPhase, Rules};
    use crate::life::Traffic;
    use crate::record::{AttachmentKey, NamespaceId, PodRecord, PodRef};

    fn entry(uid: &str, ifname: &str, stage: Stage) -> Entry {
        let record = PodRecord {
            attachment: AttachmentKey {
                container_id: "c".into(),
                ifname: ifname.into(),
            },
            pod: PodRef {
                namespace: "n".into(),
                name: "p".into(),
                uid: Some(uid.into()),
            },
            service_account: "sa".into(),
            netns: None,
            namespace_id: NamespaceId {
                device: 1,
                inode: 2,
            },
            addresses: Vec::new(),
            plan: serde_json::Value::Null,
        };
        Entry {
            record: Arc::new(record),
            stage,
            admitted: true,
        }
    }

    /// What is to be written: `+` enabled, `-` none, a blank if nothing.
    fn written(told: Option<&str>, phase: PodPhase, table: &[Entry]) -> char {
        let mut cluster = Cluster::new(Rules::default());
        let annotation = told.map(|value| (REDIRECTION_ANNOTATION.to_owned(), value.to_owned()));
        cluster.apply(Fact::Pod(Notice::Applied(PodFacts {
            namespace: "n".into(),
            name: "p".into(),
            uid: "u".into(),
            annotations: annotation.into_iter().collect(),
            phase,
            ..PodFacts::default()
        })));
        match annotations(&cluster.roster(), table).first() {
            None => ' ',
            Some(annotate) => {
                assert_eq!(annotate.uid, "u");
                if annotate.value.is_some() { '+' } else { '-' }
            }
        }
    }

    #[test]
    fn what_is_written_when() {
        let here = |stage| vec![entry("u", "eth0", stage)];
        let (ready, held) = (
            Stage::Enrolled(Traffic::Ready),
            Stage::Enrolled(Traffic::Held),
        );
        let both = vec![
            entry("u", "eth0", Stage::Opening),
            entry("u", "net1", ready.clone()),
        ];
        for (told, table, expected) in [
            (None, here(ready.clone()), '+'),
            (None, here(held), '+'),
            (Some("enabled"), here(ready.clone()), ' '),
            (Some("pending"), here(ready.clone()), '+'),
            (None, both, '+'),
            // On its way in, or back after a restart.
            (None, here(Stage::Opening), ' '),
            (Some("enabled"), here(Stage::Restoring), ' '),
            // On its way out, or out.
            (Some("enabled"), here(Stage::Draining), '-'),
            (Some("enabled"), here(Stage::Leaving(Vec::new())), '-'),
            (Some("enabled"), vec![], '-'),
            (None, vec![], ' '),
            // Another pod of that name is none of its business.
            (Some("enabled"), vec![entry("other", "eth0", ready)], '-'),
        ] {
            let write = written(told, PodPhase::Alive, &table);
            assert_eq!(write, expected, "{told:?} {table:?}");
        }
        assert_eq!(written(Some("enabled"), PodPhase::Ended, &[]), ' ');
    }
}
