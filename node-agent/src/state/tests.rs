#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use node_agent_enrollment::{
    AttachmentKey, NamespaceId, Phase, PodRecord, PodRef, Recorded, Snapshot,
};

use super::*;

fn snapshot(names: &[&str]) -> Snapshot {
    let record = |name: &&str| {
        let record = Arc::new(PodRecord {
            attachment: AttachmentKey {
                container_id: (*name).into(),
                ifname: "eth0".into(),
            },
            pod: PodRef {
                namespace: "n".into(),
                name: (*name).into(),
                uid: None,
            },
            service_account: "sa".into(),
            netns: Some("/run/netns/x".into()),
            namespace_id: NamespaceId {
                device: 1,
                inode: 2,
            },
            addresses: vec!["10.0.0.1".parse().unwrap()],
            plan: serde_json::json!({}),
        });
        Recorded {
            record,
            admitted: true,
            phase: Phase::In,
        }
    };
    Snapshot::of(names.iter().map(record).collect())
}

fn directory() -> (tempfile::TempDir, StateDir) {
    let root = tempfile::tempdir().unwrap();
    let state = StateDir::open(&root.path().join("state")).unwrap();
    (root, state)
}

#[test]
fn a_fresh_directory_is_private_and_empty() {
    let (root, state) = directory();
    let mode = std::fs::metadata(root.path().join("state"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    let loaded = state.load::<Snapshot>().unwrap();
    assert!(loaded.document.pods.is_empty() && loaded.complaints.is_empty());
}

#[test]
fn the_last_state_is_read_again() {
    let (_root, state) = directory();
    state.store(&snapshot(&["a"])).unwrap();
    state.store(&snapshot(&["a", "b"])).unwrap();
    assert_eq!(
        state.load::<Snapshot>().unwrap().document,
        snapshot(&["a", "b"])
    );
}

#[test]
fn a_torn_file_is_set_aside_for_the_previous_one() {
    let (root, state) = directory();
    state.store(&snapshot(&["a"])).unwrap();
    state.store(&snapshot(&["a", "b"])).unwrap();
    let current = root.path().join("state/pods.json");
    let whole = std::fs::read(&current).unwrap();
    std::fs::write(&current, &whole[..whole.len() / 2]).unwrap();
    let loaded = state.load::<Snapshot>().unwrap();
    assert_eq!(loaded.document, snapshot(&["a"]));
    assert!(
        loaded.complaints[0].contains("pods.json.damaged"),
        "{:?}",
        loaded.complaints
    );
    assert!(root.path().join("state/pods.json.damaged").exists());
}

#[test]
fn two_torn_files_are_a_complaint_and_not_a_crash() {
    let (root, state) = directory();
    for name in ["pods.json", "pods.json.previous"] {
        std::fs::write(root.path().join("state").join(name), b"\0\0\0").unwrap();
    }
    let loaded = state.load::<Snapshot>().unwrap();
    assert!(loaded.document.pods.is_empty());
    assert_eq!(loaded.complaints.len(), 2);
}

#[tokio::test]
async fn many_changes_share_few_writes() {
    let (_root, state) = directory();
    let (writer, thread) = StateWriter::start(state.clone()).unwrap();
    let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    for count in 1..=names.len() {
        let some: Vec<&str> = names[..count].iter().map(String::as_str).collect();
        writer.submit(Generation(count as u64), snapshot(&some));
    }
    writer.durable(Generation(100)).await.unwrap();
    writer.durable(Generation(1)).await.unwrap();
    assert_eq!(state.load::<Snapshot>().unwrap().document.pods.len(), 100);
    writer.close();
    thread.join().unwrap();
}

#[tokio::test]
async fn a_failed_write_is_said_and_tried_again() {
    let (root, state) = directory();
    // The name of the temporary file is taken by a directory, so writing fails even for root.
    let obstacle = root.path().join("state/pods.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    let (writer, thread) = StateWriter::start(state.clone()).unwrap();
    writer.submit(Generation(1), snapshot(&["a"]));
    let error = writer.durable(Generation(1)).await.unwrap_err();
    assert!(error.to_string().contains("pods.json.new"), "{error}");
    std::fs::remove_dir(&obstacle).unwrap();
    writer.submit(Generation(2), snapshot(&["a", "b"]));
    writer.durable(Generation(2)).await.unwrap();
    assert_eq!(
        state.load::<Snapshot>().unwrap().document,
        snapshot(&["a", "b"])
    );
    writer.close();
    thread.join().unwrap();
}

#[tokio::test]
async fn closing_writes_what_was_handed_over() {
    let (_root, state) = directory();
    let (writer, thread) = StateWriter::start(state.clone()).unwrap();
    writer.submit(Generation(1), snapshot(&["a"]));
    writer.close();
    thread.join().unwrap();
    assert_eq!(state.load::<Snapshot>().unwrap().document, snapshot(&["a"]));
}
