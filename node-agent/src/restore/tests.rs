#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use node_agent_admin::Readiness;
use node_agent_enrollment::{AttachmentKey, NamespaceId, PodRef, Traffic};
use node_agent_settings::OnMissingCertificate;
use tokio::sync::watch;

use super::*;
use crate::agent::Policy;
use crate::pods::Pods;
use crate::state::{StateDir, StateWriter};
use crate::upkeep::{forget_the_gone, keep_rules, note_certificates};
use crate::world::scripted::{Goes, Scripted};

struct Bench {
    root: tempfile::TempDir,
    world: Scripted,
    agent: Arc<Agent<Scripted>>,
}

fn bench() -> Bench {
    let root = tempfile::tempdir().unwrap();
    let state = StateDir::open(&root.path().join("state")).unwrap();
    let (writer, _thread) = StateWriter::start(state).unwrap();
    let (pods, owner) = Pods::start(writer.clone());
    tokio::spawn(owner);
    let world = Scripted::default();
    world.state().addresses = vec!["10.0.0.7".parse().unwrap()];
    let policy = Policy {
        excluded_namespaces: Vec::new(),
        admission_deadline: Duration::from_secs(5),
        certificate_wait: Duration::from_secs(1),
        on_missing_certificate: OnMissingCertificate::Hold,
        leave_deadline: Duration::from_secs(5),

        pod_lookup: Duration::from_secs(50),
        on_unknown: node_agent_enrollment::OnUnknown::Fail,
    };
    let (_, roster) = watch::channel(None);
    let readiness = Readiness::default();
    let agent = Arc::new(Agent::new(
        world.clone(),
        pods,
        writer,
        roster,
        readiness,
        policy,
    ));
    Bench { root, world, agent }
}

impl Bench {
    fn netns(&self, name: &str) -> PathBuf {
        let path = self.root.path().join(name);
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap();
        path
    }

    fn record(&self, name: &str) -> PodRecord {
        let path = self.netns(name);
        let found = std::fs::metadata(&path).unwrap();
        PodRecord {
            attachment: AttachmentKey {
                container_id: name.into(),
                ifname: "eth0".into(),
            },
            pod: PodRef {
                namespace: "n".into(),
                name: name.into(),
                uid: None,
            },
            service_account: "sa".into(),
            netns: Some(path.display().to_string()),
            namespace_id: NamespaceId {
                device: found.dev(),
                inode: found.ino(),
            },
            addresses: vec!["10.0.0.7".parse().unwrap()],
            plan: serde_json::Value::Null,
        }
    }

    /// Restores, without the retries of what failed.
    async fn restored(&self, records: Vec<PodRecord>) -> Vec<Recorded> {
        self.restored_as(records, true).await
    }

    async fn restored_as(&self, records: Vec<PodRecord>, admitted: bool) -> Vec<Recorded> {
        let pods = records.into_iter().map(Arc::new);
        let recorded = pods.map(|record| Recorded {
            record,
            admitted,
            phase: Phase::In,
        });
        let snapshot = Snapshot::of(recorded.collect());
        let waiting = enter(&self.agent, snapshot).await.unwrap();
        first_pass(&self.agent, waiting).await
    }

    fn stages(&self) -> Vec<Stage> {
        self.agent
            .pods
            .view()
            .iter()
            .map(|entry| entry.stage.clone())
            .collect()
    }
}

#[tokio::test]
async fn a_running_pod_is_served_again() {
    let bench = bench();
    assert!(bench.restored(vec![bench.record("a")]).await.is_empty());
    let done = bench.world.state().done.join(", ");
    assert_eq!(done, "hold sa, open, repair rules");
    assert_eq!(bench.stages(), [Stage::Enrolled(Traffic::Held)]);
    note_certificates(&bench.agent).await;
    let key = bench.record("a").attachment;
    let stage = bench.agent.pods.get(&key).await.unwrap().unwrap().stage;
    assert_eq!(stage, Stage::Enrolled(Traffic::Ready));
}

#[tokio::test]
async fn pods_that_went_away_are_forgotten() {
    let bench = bench();
    let (gone, mut replaced) = (bench.record("gone"), bench.record("replaced"));
    std::fs::remove_file(gone.netns.as_ref().unwrap()).unwrap();
    replaced.namespace_id.inode += 1;
    assert!(bench.restored(vec![gone, replaced]).await.is_empty());
    assert!(bench.stages().is_empty(), "{:?}", bench.stages());
    let state = bench.world.state();
    assert!(state.listeners.is_empty() && state.holds["sa"] == 0 && state.rules.is_empty());
}

#[tokio::test]
async fn a_namespace_without_the_pods_addresses_is_forgotten_but_not_opened() {
    for present in [vec![], vec!["10.0.0.8".parse().unwrap()]] {
        let bench = bench();
        let record = bench.record("a");
        bench.world.state().addresses = present;
        bench.world.state().rules.insert(record.namespace_id.inode);
        assert!(bench.restored(vec![record.clone()]).await.is_empty());
        assert!(bench.stages().is_empty());
        let state = bench.world.state();
        assert!(state.rules.contains(&record.namespace_id.inode));
        assert!(state.listeners.is_empty() && state.holds["sa"] == 0);
        assert!(!state.done.contains(&"remove rules".to_owned()));
    }
}

#[tokio::test]
async fn a_pod_that_cannot_be_served_stays_and_is_tried_again() {
    let bench = bench();
    bench.world.state().opening = Goes::Wrong;
    let failed = bench
        .restored(vec![bench.record("a"), bench.record("b")])
        .await;
    assert_eq!(failed.len(), 2);
    assert_eq!(bench.stages(), [Stage::Restoring, Stage::Restoring]);
    bench.world.state().opening = Goes::Well;
    assert!(again(&bench.agent, failed).await.is_empty());
    let key = bench.record("b").attachment;
    let stage = bench.agent.pods.get(&key).await.unwrap().unwrap().stage;
    assert_eq!(stage, Stage::Enrolled(Traffic::Held));
}

#[tokio::test]
async fn a_pod_whose_path_is_not_visible_is_kept_and_complained_about() {
    let bench = bench();
    let mut record = bench.record("a");
    record.netns = None;
    assert_eq!(bench.restored(vec![record]).await.len(), 1);
    assert_eq!(bench.stages(), [Stage::Restoring]);
}

#[tokio::test]
async fn readiness_waits_for_the_first_attempt_only() {
    let bench = bench();
    bench.world.state().opening = Goes::Wrong;
    let record = Arc::new(bench.record("a"));
    let snapshot = Snapshot::of(vec![Recorded {
        record,
        admitted: true,
        phase: Phase::In,
    }]);
    let waiting = enter(&bench.agent, snapshot).await.unwrap();
    let pending = bench.agent.readiness.task("restore");
    assert!(!bench.agent.readiness.is_ready());
    let restoring = tokio::spawn(restore(Arc::clone(&bench.agent), waiting, pending));
    while !bench.agent.readiness.is_ready() {
        tokio::task::yield_now().await;
    }
    assert!(!restoring.is_finished(), "it goes on trying");
    restoring.abort();
}

#[tokio::test]
async fn a_namespace_that_goes_without_del_is_noticed() {
    let bench = bench();
    bench
        .restored(vec![bench.record("a"), bench.record("b")])
        .await;
    forget_the_gone(&bench.agent).await;
    assert_eq!(bench.stages().len(), 2);
    std::fs::remove_file(bench.netns("a")).unwrap();
    forget_the_gone(&bench.agent).await;
    let key = bench.record("b").attachment;
    while bench.agent.pods.view().len() != 1 {
        tokio::task::yield_now().await;
    }
    assert!(bench.agent.pods.get(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn a_pod_that_was_never_admitted_is_forgotten_unless_its_rules_are_whole() {
    let bench = bench();
    let (half, whole) = (bench.record("half"), bench.record("whole"));
    bench.world.state().rules.insert(whole.namespace_id.inode);
    assert!(
        bench
            .restored_as(vec![half, whole.clone()], false)
            .await
            .is_empty()
    );
    assert_eq!(bench.stages(), [Stage::Enrolled(Traffic::Held)]);
    assert_eq!(bench.agent.pods.view()[0].record.pod.name, "whole");
    assert_eq!(bench.world.state().listeners.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rules_that_are_taken_out_of_a_running_pod_come_back_and_it_is_told() {
    let bench = bench();
    let record = bench.record("a");
    let (key, inode) = (record.attachment.clone(), record.namespace_id.inode);
    assert!(bench.restored(vec![record]).await.is_empty());
    let looking = tokio::spawn(keep_rules(Arc::clone(&bench.agent)));
    bench.world.change(|state| {
        state.rules.remove(&inode);
        state.done.clear();
    });
    let whole = bench.world.becomes(|state| state.rules.contains(&inode));
    tokio::time::timeout(Duration::from_secs(12), whole)
        .await
        .unwrap();
    // Twice more, in which nothing differs.
    let looked = |state: &crate::world::scripted::State| state.done.len() >= 3;
    bench.world.becomes(looked).await;
    let repair = bench.agent.repairs.of(&key).unwrap();
    assert_eq!((repair.times, repair.what.len()), (1, 1), "{repair:?}");
    let complaint = bench.agent.complaints().unwrap().try_recv().unwrap();
    assert_eq!(complaint.reason, "RulesRepaired");
    bench
        .agent
        .pods
        .advance(&key, Event::Leave(LeaveReason::Deleted))
        .await
        .unwrap();
    bench.agent.pods.advance(&key, Event::Undone).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(
        bench.agent.repairs.of(&key).is_none(),
        "forgotten with the pod"
    );
    looking.abort();
}
