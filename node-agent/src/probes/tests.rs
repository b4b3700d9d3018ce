#![allow(clippy::unwrap_used, reason = "tests")]

use node_agent_enrollment::{
    AttachmentKey, Event, LeaveReason, NamespaceId, Phase, PodRef, Recorded, Stage,
};
use serde_json::json;

use super::*;
use crate::pods::Pods;
use crate::state::{StateDir, StateWriter};
use crate::world::scripted::{Goes, Scripted};

struct Bench {
    world: Scripted,
    agent: Arc<Agent<Scripted>>,
    _root: tempfile::TempDir,
}

fn record(name: &str, address: &str) -> Arc<PodRecord> {
    Arc::new(PodRecord {
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
        netns: None,
        namespace_id: NamespaceId {
            device: 0,
            inode: 0,
        },
        addresses: vec![address.parse().unwrap()],
        plan: json!(RedirectPlan::new(Backend::Nft)),
    })
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::open(&root.path().join("state")).unwrap();
        let (writer, _thread) = StateWriter::start(state).unwrap();
        let (pods, owner) = Pods::start(writer.clone());
        tokio::spawn(owner);
        let world = Scripted::default();
        let agent = Arc::new(Agent::scripted(world.clone(), pods, writer));
        Self {
            world,
            agent,
            _root: root,
        }
    }

    async fn recorded(&self, record: &Arc<PodRecord>) {
        let recorded = Recorded {
            record: Arc::clone(record),
            admitted: true,
            phase: Phase::In,
        };
        self.agent.pods.begin_restoring(recorded).await.unwrap();
    }

    fn keep(&self) {
        tokio::spawn(keep(Arc::clone(&self.agent)));
    }

    async fn exempt(&self, count: usize) {
        let wanted =
            move |exempt: &Option<Exemption>| exempt.as_ref().map(Exemption::len) == Some(count);
        self.world.becomes(|state| wanted(&state.exempt)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_former_agent_left_is_replaced_by_all_at_once() {
    let bench = Bench::new();
    bench.recorded(&record("a", "10.0.0.7")).await;
    bench.recorded(&record("b", "fd00::7")).await;
    bench.keep();
    bench.exempt(2).await;
    assert_eq!(bench.world.state().done, ["exempt 2"], "never fewer");
    assert!(bench.agent.probes.now().unwrap().repair.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_exempt_from_before_its_rules_capture_until_it_leaves() {
    let bench = Bench::new();
    bench.keep();
    bench.exempt(0).await;
    let pod = record("a", "10.0.0.7");
    let (pods, key) = (&bench.agent.pods, &pod.attachment);
    pods.begin(Arc::clone(&pod)).await.unwrap();
    let advanced = pods.advance(key, Event::ListenersOpen).await.unwrap();
    assert_eq!(advanced.stage, Stage::Installing);
    bench.agent.probes.cover(&pod, PATIENCE).await;
    assert_eq!(
        bench.world.state().exempt.as_ref().map(Exemption::len),
        Some(1)
    );
    let leave = Event::Leave(LeaveReason::Deleted);
    pods.advance(key, leave).await.unwrap();
    bench.exempt(0).await;
}

#[tokio::test(start_paused = true)]
async fn what_others_change_is_repaired_counted_and_told() {
    let bench = Bench::new();
    bench.recorded(&record("a", "10.0.0.7")).await;
    bench.keep();
    bench.exempt(1).await;
    bench.world.change(|state| state.exempt = None);
    bench.exempt(1).await;
    // What is known of it is told a moment later.
    let mut now = bench.agent.probes.now.subscribe();
    let told = now.wait_for(|now| now.as_ref().is_some_and(|now| now.repair.is_some()));
    let repair = told
        .await
        .unwrap()
        .as_ref()
        .unwrap()
        .repair
        .clone()
        .unwrap();
    assert_eq!((repair.times, repair.what.len()), (1, 1));
    assert_eq!(bench.agent.probes.repairs.value(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_be_reached_keeps_nobody_waiting_and_is_tried_again() {
    let bench = Bench::new();
    bench.world.state().exempting = Goes::Wrong;
    let pod = record("a", "10.0.0.7");
    bench.recorded(&pod).await;
    bench.keep();
    let mut now = bench.agent.probes.now.subscribe();
    let tried = now.wait_for(Option::is_some).await.unwrap().clone();
    assert!(tried.unwrap().problem.unwrap().contains("scripted"));
    let began = tokio::time::Instant::now();
    bench.agent.probes.cover(&pod, PATIENCE).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    bench.world.change(|state| state.exempting = Goes::Well);
    bench.exempt(1).await;
    assert_eq!(
        bench.agent.probes.repairs.value(),
        0,
        "our own failure is nobody's change"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever_and_not_at_all_where_nobody_keeps_it() {
    let bench = Bench::new();
    let pod = record("a", "10.0.0.7");
    let began = tokio::time::Instant::now();
    bench.agent.probes.cover(&pod, PATIENCE).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    bench.keep();
    bench.exempt(0).await;
    let _successor = bench.agent.probes.activity.pause().await;
    bench.recorded(&pod).await;
    bench.agent.probes.cover(&pod, PATIENCE).await;
    assert!(began.elapsed() >= PATIENCE);
    bench.world.state().done.retain(|what| what != "exempt 0");
    assert_eq!(
        bench.world.state().done,
        [""; 0],
        "a successor's rules are left alone"
    );
}

#[tokio::test(start_paused = true)]
async fn pods_that_come_and_go_do_not_put_off_the_look_at_the_kernel() {
    let bench = Bench::new();
    bench.keep();
    bench.exempt(0).await;
    let began = tokio::time::Instant::now();
    for number in 0_u8..12 {
        sleep(Duration::from_secs(1)).await;
        if number == 3 {
            bench.world.change(|state| state.exempt = None);
        }
        let address = format!("10.0.0.{number}");
        bench.recorded(&record(&address, &address)).await;
        bench.exempt(usize::from(number) + 1).await;
    }
    assert!(began.elapsed() < 2 * LOOK);
    assert_eq!(bench.agent.probes.repairs.value(), 1);
}
