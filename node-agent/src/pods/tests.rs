#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use node_agent_enrollment::{LeaveReason, NamespaceId, PodRef, Snapshot, Traffic};
use tokio::time::timeout;

use super::*;
use crate::state::StateDir;

struct Bench {
    _root: tempfile::TempDir,
    state: StateDir,
    writer: StateWriter,
    pods: Pods,
}

fn bench() -> Bench {
    let root = tempfile::tempdir().unwrap();
    let state = StateDir::open(root.path()).unwrap();
    let (writer, _thread) = StateWriter::start(state.clone()).unwrap();
    let (pods, owner) = Pods::start(writer.clone());
    tokio::spawn(owner);
    Bench {
        _root: root,
        state,
        writer,
        pods,
    }
}

fn record(container: &str, uid: &str) -> Arc<PodRecord> {
    Arc::new(PodRecord {
        attachment: attachment(container),
        pod: PodRef {
            namespace: "n".into(),
            name: uid.into(),
            uid: Some(uid.into()),
        },
        service_account: "sa".into(),
        netns: Some("/run/netns/x".into()),
        namespace_id: NamespaceId {
            device: 1,
            inode: 2,
        },
        addresses: Vec::new(),
        plan: serde_json::Value::Null,
    })
}

fn attachment(container: &str) -> AttachmentKey {
    AttachmentKey {
        container_id: container.into(),
        ifname: "eth0".into(),
    }
}

async fn enrol(bench: &Bench, record: &Arc<PodRecord>) {
    bench.pods.begin(Arc::clone(record)).await.unwrap();
    let steps = [
        Event::ListenersOpen,
        Event::RulesInstalled,
        Event::ProbePassed,
        Event::CertificateReady,
    ];
    for event in steps {
        let advanced = bench.pods.advance(&record.attachment, event).await.unwrap();
        bench.writer.durable(advanced.generation).await.unwrap();
    }
    bench
        .pods
        .advance(&record.attachment, Event::Recorded)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_recorded_pod_is_on_disk_before_it_is_enrolled() {
    let bench = bench();
    let pod = record("c1", "u1");
    enrol(&bench, &pod).await;
    assert_eq!(
        bench.state.load::<Snapshot>().unwrap().document.pods[0].record,
        pod
    );
    let stage = bench
        .pods
        .get(&pod.attachment)
        .await
        .unwrap()
        .unwrap()
        .stage;
    assert_eq!(stage, Stage::Enrolled(Traffic::Ready));
}

#[tokio::test]
async fn a_pod_that_left_is_off_the_disk() {
    let bench = bench();
    let pod = record("c1", "u1");
    enrol(&bench, &pod).await;
    let leave = Event::Leave(LeaveReason::Deleted);
    bench.pods.advance(&pod.attachment, leave).await.unwrap();
    let gone = bench
        .pods
        .advance(&pod.attachment, Event::Undone)
        .await
        .unwrap();
    bench.writer.durable(gone.generation).await.unwrap();
    assert!(
        bench
            .state
            .load::<Snapshot>()
            .unwrap()
            .document
            .pods
            .is_empty()
    );
    assert!(bench.pods.get(&pod.attachment).await.unwrap().is_none());
}

#[tokio::test]
async fn a_hundred_pods_are_enrolled_at_once() {
    let bench = bench();
    let records: Vec<_> = (0..100)
        .map(|n| record(&format!("c{n}"), &format!("u{n}")))
        .collect();
    let all = records.iter().map(|record| enrol(&bench, record));
    let mut set = Vec::new();
    for future in all {
        set.push(Box::pin(future));
    }
    futures_join(set).await;
    assert_eq!(
        bench.state.load::<Snapshot>().unwrap().document.pods.len(),
        100
    );
    assert_eq!(bench.pods.view().len(), 100);
}

/// Polls all to their end without a helper crate.
async fn futures_join<F: Future<Output = ()> + Unpin>(mut futures: Vec<F>) {
    std::future::poll_fn(move |context| {
        futures.retain_mut(|f| std::pin::Pin::new(f).poll(context).is_pending());
        if futures.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

async fn waits(pods: &Pods, container: &str, uid: Option<&str>) -> bool {
    let pod = uid.map(|uid| record("x", uid).pod.key());
    let turn = pods.turn(attachment(container), pod);
    timeout(Duration::from_millis(50), turn).await.is_err()
}

#[tokio::test]
async fn work_on_one_pod_waits_and_on_others_does_not() {
    let bench = bench();
    let key = record("c1", "u1").pod.key();
    let turn = bench
        .pods
        .turn(attachment("c1"), Some(key.clone()))
        .await
        .unwrap();
    assert!(
        waits(&bench.pods, "c1", None).await,
        "a DEL that does not name the pod"
    );
    assert!(
        waits(&bench.pods, "c2", Some("u1")).await,
        "another sandbox of the pod"
    );
    assert!(!waits(&bench.pods, "c3", Some("u3")).await, "another pod");
    assert!(
        !waits(&bench.pods, "c4", None).await,
        "an attachment nobody knows"
    );
    drop(turn);
    assert!(!waits(&bench.pods, "c1", None).await, "the turn came back");
}

#[tokio::test]
async fn turns_are_given_in_order_and_lost_askers_are_skipped() {
    let bench = bench();
    let key = record("c1", "u1").pod.key();
    let first = bench
        .pods
        .turn(attachment("c1"), Some(key.clone()))
        .await
        .unwrap();
    assert!(
        waits(&bench.pods, "c1", Some("u1")).await,
        "gives up waiting"
    );
    let (pods, theirs) = (bench.pods.clone(), key.clone());
    let third = tokio::spawn(async move { pods.turn(attachment("c1"), Some(theirs)).await });
    drop(first);
    let third = timeout(Duration::from_secs(5), third)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(waits(&bench.pods, "c1", Some("u1")).await);
    drop(third);
}

#[tokio::test]
async fn who_has_the_turn_hears_that_it_is_wanted() {
    let bench = bench();
    let key = record("c1", "u1").pod.key();
    let first = bench
        .pods
        .turn(attachment("c1"), Some(key.clone()))
        .await
        .unwrap();
    let unwanted = timeout(Duration::from_millis(50), first.wanted()).await;
    assert!(unwanted.is_err(), "nobody asked");
    let (pods, theirs) = (bench.pods.clone(), key.clone());
    let second = tokio::spawn(async move { pods.turn(attachment("c1"), Some(theirs)).await });
    let patience = Duration::from_secs(5);
    timeout(patience, first.wanted()).await.unwrap();
    drop(first);
    let second = timeout(patience, second).await.unwrap().unwrap().unwrap();
    let unwanted = timeout(Duration::from_millis(50), second.wanted()).await;
    assert!(unwanted.is_err(), "nobody else asked");
}
