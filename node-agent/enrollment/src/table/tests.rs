#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::life::{LeaveReason, Traffic};
use crate::record::{NamespaceId, PodRef, Recorded};

fn record(container: &str, ifname: &str, uid: &str, inode: u64) -> Arc<PodRecord> {
    Arc::new(PodRecord {
        attachment: AttachmentKey {
            container_id: container.into(),
            ifname: ifname.into(),
        },
        pod: PodRef {
            namespace: "n".into(),
            name: "p".into(),
            uid: Some(uid.into()),
        },
        service_account: "sa".into(),
        netns: Some(format!("/run/netns/{inode}")),
        namespace_id: NamespaceId { device: 4, inode },
        addresses: Vec::new(),
        plan: serde_json::Value::Null,
    })
}

fn enrol(table: &mut Table, record: &Arc<PodRecord>) -> Begun {
    let begun = table.begin(Arc::clone(record));
    for event in [
        Event::ListenersOpen,
        Event::RulesInstalled,
        Event::ProbePassed,
        Event::CertificateReady,
        Event::Recorded,
    ] {
        table.advance(&record.attachment, event).unwrap();
    }
    begun
}

fn leave(table: &mut Table, record: &PodRecord) -> Vec<Obligation> {
    let left = Event::Leave(LeaveReason::Deleted);
    match table.advance(&record.attachment, left).unwrap() {
        Stage::Leaving(obligations) => obligations,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_comes_and_goes_without_trace() {
    let (mut table, pod) = (Table::default(), record("c1", "eth0", "u1", 1));
    assert_eq!(enrol(&mut table, &pod), Begun::default());
    assert_eq!(
        table.attachments_of(&pod.pod.key()),
        std::slice::from_ref(&pod.attachment)
    );
    let recorded = Recorded {
        record: Arc::clone(&pod),
        admitted: true,
        phase: Phase::In,
    };
    assert_eq!(table.snapshot().pods, [recorded]);
    assert_eq!(leave(&mut table, &pod).len(), 4);
    table.advance(&pod.attachment, Event::Undone).unwrap();
    assert!(table.get(&pod.attachment).is_none());
    assert!(table.attachments_of(&pod.pod.key()).is_empty());
    assert!(table.snapshot().pods.is_empty());
}

#[test]
fn a_new_sandbox_of_the_pod_names_the_old_one() {
    let mut table = Table::default();
    let (old, new) = (record("c1", "eth0", "u1", 1), record("c2", "eth0", "u1", 2));
    enrol(&mut table, &old);
    let begun = enrol(&mut table, &new);
    assert_eq!(begun.older, std::slice::from_ref(&old.attachment));
    assert_eq!(table.snapshot().pods.len(), 2);
    leave(&mut table, &old);
    table.advance(&old.attachment, Event::Undone).unwrap();
    assert_eq!(
        table.attachments_of(&new.pod.key()),
        std::slice::from_ref(&new.attachment)
    );
}

#[test]
fn a_retry_of_the_same_attachment_replaces_it() {
    let (mut table, pod) = (Table::default(), record("c1", "eth0", "u1", 1));
    enrol(&mut table, &pod);
    let begun = table.begin(Arc::clone(&pod));
    let replaced = begun.replaced.unwrap();
    assert_eq!(replaced.stage, Stage::Enrolled(Traffic::Ready));
    assert_eq!(table.attachments_of(&pod.pod.key()).len(), 1);
    assert!(
        table.snapshot().pods.is_empty(),
        "not recorded until enrolled again"
    );
}

#[test]
fn a_second_interface_does_not_take_the_first_one_down() {
    let mut table = Table::default();
    let (first, second) = (record("c1", "eth0", "u1", 1), record("c1", "net1", "u1", 1));
    enrol(&mut table, &first);
    assert!(enrol(&mut table, &second).older.is_empty());
    assert_eq!(
        leave(&mut table, &second),
        [Obligation::ReleaseCertificate, Obligation::ForgetRecord]
    );
    table.advance(&second.attachment, Event::Undone).unwrap();
    assert_eq!(
        leave(&mut table, &first).len(),
        4,
        "the last one takes everything down"
    );
}

#[test]
fn what_the_runtime_does_not_list_is_missing() {
    let mut table = Table::default();
    let (kept, lost) = (record("c1", "eth0", "u1", 1), record("c2", "eth0", "u2", 2));
    enrol(&mut table, &kept);
    enrol(&mut table, &lost);
    let missing = table.missing_from(std::slice::from_ref(&kept.attachment));
    assert_eq!(missing, std::slice::from_ref(&lost.attachment));
}

#[test]
fn a_wrong_event_changes_nothing() {
    let (mut table, pod) = (Table::default(), record("c1", "eth0", "u1", 1));
    table.begin(Arc::clone(&pod));
    let refused = table.advance(&pod.attachment, Event::Recorded);
    assert!(matches!(refused, Err(TableError::OutOfOrder(..))));
    assert_eq!(table.get(&pod.attachment).unwrap().stage, Stage::Opening);
    let nobody = record("c9", "eth0", "u9", 9);
    let absent = table.advance(&nobody.attachment, Event::Undone);
    assert_eq!(absent, Err(TableError::NotThere(nobody.attachment.clone())));
}

#[test]
fn a_pod_is_admitted_only_once_its_plugin_was_told() {
    let (mut table, pod) = (Table::default(), record("c1", "eth0", "u1", 1));
    table.begin(Arc::clone(&pod));
    for event in [
        Event::ListenersOpen,
        Event::RulesInstalled,
        Event::ProbePassed,
        Event::CertificateLate,
    ] {
        table.advance(&pod.attachment, event).unwrap();
    }
    assert!(!table.snapshot().pods[0].admitted);
    table.advance(&pod.attachment, Event::Recorded).unwrap();
    assert!(table.snapshot().pods[0].admitted);
    let mut next = Table::default();
    next.begin_restoring(Recorded {
        record: Arc::clone(&pod),
        admitted: false,
        phase: Phase::In,
    });
    assert!(
        !next.snapshot().pods[0].admitted,
        "a restart does not admit anybody"
    );
}

#[test]
fn a_pod_on_its_way_in_or_out_is_taken_out_by_a_restart() {
    let (mut table, pod) = (Table::default(), record("c1", "eth0", "u1", 1));
    table.begin_joining(Arc::clone(&pod));
    assert!(table.snapshot().pods.is_empty());
    for event in [Event::CertificateReady, Event::ListenersOpen] {
        table.advance(&pod.attachment, event).unwrap();
    }
    let restarted = |table: &Table| {
        let mut next = Table::default();
        next.begin_restoring(table.snapshot().pods[0].clone());
        next.get(&pod.attachment).unwrap().stage.clone()
    };
    assert_eq!(restarted(&table), Stage::Draining);
    for event in [Event::Recorded, Event::RulesInstalled, Event::ProbePassed] {
        table.advance(&pod.attachment, event).unwrap();
    }
    assert_eq!(restarted(&table), Stage::Restoring);
    assert!(!table.snapshot().pods[0].admitted);
    table.advance(&pod.attachment, Event::Recorded).unwrap();
    assert!(table.snapshot().pods[0].admitted);
    table.advance(&pod.attachment, Event::Drain).unwrap();
    assert_eq!(restarted(&table), Stage::Draining);
}

#[test]
fn another_plan_is_noted() {
    let (mut table, pod) = (Table::default(), record("c1", "eth0", "u1", 1));
    enrol(&mut table, &pod);
    table.replan(&pod.attachment, "new".into()).unwrap();
    assert_eq!(table.snapshot().pods[0].record.plan, "new");
    assert_eq!(table.snapshot().pods[0].record.attachment, pod.attachment);
    let nobody = record("c9", "eth0", "u9", 9).attachment.clone();
    assert!(table.replan(&nobody, "new".into()).is_err());
}

#[test]
fn an_assumed_name_is_found_by_the_pod_and_no_list_of_the_runtime_speaks_of_it() {
    let mut table = Table::default();
    let mut found = PodRecord::clone(&record("c1", "eth0", "u1", 1));
    found.attachment = AttachmentKey::assumed("u1", "eth0");
    let found = Arc::new(found);
    enrol(&mut table, &found);
    enrol(&mut table, &record("c2", "eth0", "u2", 2));
    let named = |uid: Option<&str>| PodRef {
        namespace: "n".into(),
        name: "p".into(),
        uid: uid.map(ToOwned::to_owned),
    };
    for (pod, ifname, there) in [
        (named(Some("u1")), "eth0", true),
        (named(None), "eth0", true),
        (named(Some("u1")), "net1", false),
        (named(Some("u2")), "eth0", false),
    ] {
        let entry = table.assumed_of(&pod, ifname);
        assert_eq!(entry.map(|entry| &entry.record), there.then_some(&found));
    }
    assert_eq!(table.missing_from(&[]).len(), 1);
}
