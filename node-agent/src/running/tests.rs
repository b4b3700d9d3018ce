#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod found;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use cni_plugin_handoff::{DelRequest, Reply};
use node_agent_admin::Readiness;
use node_agent_enrollment::{Event, Phase, PodRecord, PodsFile, Recorded, Snapshot, Traffic};
use node_agent_redirect::{Exemption, RedirectPlan};
use node_agent_settings::OnMissingCertificate;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::agent::Policy;
use crate::plugin::del;
use crate::pods::Pods;
use crate::restore;
use crate::state::{StateDir, StateWriter};
use crate::world::scripted::{Goes, Scripted, State};

const PATIENCE: Duration = Duration::from_secs(20);
const IN: Stage = Stage::Enrolled(Traffic::Ready);

struct Bench {
    root: tempfile::TempDir,
    world: Scripted,
    agent: Arc<Agent<Scripted>>,
    state: StateDir,
    roster: watch::Sender<Option<Arc<Roster>>>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Policy)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let state = StateDir::open(&root.path().join("state")).unwrap();
        let (writer, _thread) = StateWriter::start(state.clone()).unwrap();
        let (pods, owner) = Pods::start(writer.clone());
        tokio::spawn(owner);
        let world = Scripted::default();
        world.state().addresses = vec!["10.0.0.7".parse().unwrap()];
        let mut policy = Policy {
            excluded_namespaces: Vec::new(),
            admission_deadline: PATIENCE,
            certificate_wait: PATIENCE,
            on_missing_certificate: OnMissingCertificate::Hold,
            leave_deadline: PATIENCE,

            pod_lookup: Duration::from_secs(50),
            on_unknown: node_agent_enrollment::OnUnknown::Fail,
        };
        change(&mut policy);
        let (roster, read) = watch::channel(None);
        let readiness = Readiness::default();
        let agent = Agent::new(world.clone(), pods, writer, read, readiness, policy);
        std::fs::write(root.path().join("pod"), "").unwrap();
        Self {
            root,
            world,
            agent: Arc::new(agent),
            state,
            roster,
        }
    }

    fn started(self) -> Self {
        tokio::spawn(run(Arc::clone(&self.agent)));
        self
    }

    fn netns(&self) -> PathBuf {
        self.root.path().join("pod")
    }

    /// What the pods file says of the pod.
    fn list(&self, mode: &str) {
        self.list_with(mode, json!({}));
    }

    fn list_with(&self, mode: &str, more: Value) {
        let mut pod = json!({
            "namespace": "n", "name": "p", "uid": "u", "serviceAccount": "sa",
            "labels": {"istio.io/dataplane-mode": mode},
            "netns": self.netns(), "addresses": ["10.0.0.7"], "containerId": "c",
        });
        let Value::Object(more) = more else { panic!() };
        pod.as_object_mut().unwrap().extend(more);
        let file: PodsFile = serde_json::from_value(json!({"pods": [pod]})).unwrap();
        let roster = Arc::new(file.try_into().unwrap());
        self.roster.send_replace(Some(roster));
    }

    fn record(&self) -> PodRecord {
        let netns: OwnedFd = std::fs::File::open(self.netns()).unwrap().into();
        PodRecord {
            attachment: AttachmentKey {
                container_id: "c".into(),
                ifname: "eth0".into(),
            },
            pod: PodRef {
                namespace: "n".into(),
                name: "p".into(),
                uid: Some("u".into()),
            },
            service_account: "sa".into(),
            netns: Some(self.netns().display().to_string()),
            namespace_id: self.world.identify(&netns).unwrap(),
            addresses: vec!["10.0.0.7".parse().unwrap()],
            plan: serde_json::to_value(self.world.plan()).unwrap(),
        }
    }

    fn stage(&self) -> Option<Stage> {
        let view = self.agent.pods.view();
        view.first().map(|entry| entry.stage.clone())
    }

    fn plan(&self) -> RedirectPlan {
        let view = self.agent.pods.view();
        serde_json::from_value(view[0].record.plan.clone()).unwrap()
    }

    async fn becomes(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let reached = async {
            while !wanted(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let became = timeout(PATIENCE, reached).await;
        assert!(
            became.is_ok(),
            "not {what}: {:?}, {:?}, {:?}",
            self.stage(),
            self.world.state(),
            self.agent.pods.troubles()
        );
    }

    async fn is_in(&self) {
        self.becomes("in", |bench| bench.stage() == Some(IN)).await;
    }

    /// Nothing of the pod is left anywhere.
    async fn is_out(&self) {
        self.becomes("out", |bench| {
            let state = bench.world.state();
            let clean = state.listeners.is_empty()
                && state.rules.is_empty()
                && state.announced.is_empty()
                && state.holds.values().all(|count| *count == 0);
            drop(state);
            clean && bench.stage().is_none() && bench.recorded().is_empty()
        })
        .await;
    }

    fn recorded(&self) -> Vec<Recorded> {
        self.state.load::<Snapshot>().unwrap().document.pods
    }

    fn done(&self) -> String {
        self.world.state().done.join(", ")
    }

    async fn is_troubled(&self, by: &str) {
        self.becomes(by, |bench| {
            let troubles = bench.agent.pods.troubles();
            troubles.get("n/p").is_some_and(|why| why.contains(by))
        })
        .await;
    }

    async fn del(&self) -> Reply {
        let request = DelRequest {
            container_id: "c".into(),
            ifname: "eth0".into(),
            netns: None,
            pod: None,
            deadline_ms: 5_000,
        };
        timeout(PATIENCE, del(&self.agent, request, None))
            .await
            .unwrap()
            .unwrap()
    }
}

#[tokio::test]
async fn a_running_pod_is_taken_in_in_order() {
    let bench = Bench::new().started();
    bench.world.state().open = 1;
    bench.list("ambient");
    bench.is_in().await;
    assert_eq!(bench.done(), "hold sa, open, capture, probe u, announce");
    assert_eq!(bench.plan().spared.len(), 1);
    bench
        .becomes("recorded", |bench| {
            let recorded = bench.recorded();
            recorded.len() == 1 && recorded[0].admitted && recorded[0].phase == Phase::In
        })
        .await;
    let record = Arc::clone(&bench.recorded()[0].record);
    assert_eq!(record.attachment.to_string(), "c/eth0");
    assert_eq!(record.plan["spared"].as_array().unwrap().len(), 1);
    // The runtime's DEL finds it.
    let reply = bench.del().await;
    assert!(matches!(
        reply,
        Reply::Done {
            was_enrolled: true,
            ..
        }
    ));
    bench.list("none");
    bench.is_out().await;
}

#[tokio::test]
async fn the_nodes_probes_are_exempt_before_capture_begins_and_no_longer_when_it_has_ended() {
    let bench = Bench::new().started();
    tokio::spawn(crate::probes::keep(Arc::clone(&bench.agent)));
    bench.list("ambient");
    bench.is_in().await;
    let done = bench.done();
    let at = |step: &str| {
        done.find(step)
            .unwrap_or_else(|| panic!("no {step}: {done}"))
    };
    assert!(at("exempt 1") < at("capture"), "{done}");
    bench.list("none");
    bench.is_out().await;
    bench
        .becomes("no longer exempt", |bench| {
            let state = bench.world.state();
            state.exempt.as_ref().is_some_and(Exemption::is_empty)
        })
        .await;
}

#[tokio::test]
async fn without_a_certificate_nothing_is_changed() {
    let bench = Bench::with(|policy| policy.certificate_wait = Duration::from_millis(20)).started();
    bench.world.state().certifying = Goes::Nowhere;
    bench.list("ambient");
    bench.is_troubled("scripted to be late").await;
    bench.is_out().await;
    assert_eq!(bench.done(), "hold sa, certificate, release sa");
    bench.world.state().certifying = Goes::Well;
    bench.is_in().await;
    assert!(bench.agent.pods.troubles().is_empty());
}

#[tokio::test]
async fn what_is_not_the_pods_namespace_is_left_alone() {
    let bench = Bench::new().started();
    bench.list_with("ambient", json!({"addresses": ["10.0.0.7", "10.0.0.8"]}));
    bench.is_troubled("does not carry 10.0.0.8").await;
    bench.list_with("ambient", json!({"netns": "/nowhere"}));
    bench
        .is_troubled("no pod's network namespace at /nowhere")
        .await;
    assert_eq!(bench.done(), "");
    bench.list("ambient");
    bench.is_in().await;
}

#[tokio::test]
async fn a_failure_before_rules_leaves_the_pod_as_it_was() {
    let bench = Bench::new().started();
    bench.world.state().opening = Goes::Wrong;
    bench.list("ambient");
    bench.is_troubled("listeners cannot be opened").await;
    bench.is_out().await;
    assert_eq!(bench.done(), "hold sa, open, close u, release sa");
}

/// A step of the scripted world, whose outcome a test sets.
type Step = fn(&mut State) -> &mut Goes;

#[tokio::test]
async fn a_failure_with_rules_drains_what_they_captured() {
    let wrong: [(Step, &str); 2] = [
        (|state| &mut state.capturing, "rules cannot be changed"),
        (|state| &mut state.probing, "self-probe"),
    ];
    for (step, why) in wrong {
        let bench = Bench::new().started();
        *step(&mut bench.world.state()) = Goes::Wrong;
        bench.world.state().connections = 1;
        bench.list("ambient");
        bench.is_troubled(why).await;
        bench
            .becomes("quiet", |bench| bench.world.state().quiet.len() == 1)
            .await;
        assert_eq!(bench.stage(), Some(Stage::Draining));
        assert_eq!(bench.world.state().listeners.len(), 1);
        assert!(!bench.done().contains("announce"), "{}", bench.done());
        *step(&mut bench.world.state()) = Goes::Well;
        bench.list("ambient");
        // It need not be out first.
        bench.is_in().await;
        assert!(!bench.done().contains("remove rules"), "{}", bench.done());
    }
}

#[tokio::test]
async fn a_pod_goes_out_when_its_last_captured_connection_has_ended() {
    let bench = Bench::new().started();
    bench.list("ambient");
    bench.is_in().await;
    bench.world.state().connections = 3;
    bench.list("none");
    bench
        .becomes("draining", |bench| bench.stage() == Some(Stage::Draining))
        .await;
    assert_eq!(bench.plan(), bench.plan().capturing_nothing_new());
    assert_eq!(bench.world.state().quiet.len(), 1);
    assert!(bench.world.state().announced.is_empty());
    tokio::time::sleep(SETTLED_AND_MORE).await;
    assert_eq!(bench.stage(), Some(Stage::Draining));
    assert_eq!(bench.world.state().listeners.len(), 1);
    bench.world.change(|state| state.connections = 0);
    bench.is_out().await;
    let done = bench.done();
    let end = "quiet, withdraw, close u, remove rules, release sa";
    assert!(done.ends_with(end), "{done}");
}

/// Longer than the world must be quiet for.
const SETTLED_AND_MORE: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn what_does_not_end_is_cut_after_the_deadline() {
    let bench = Bench::with(|policy| policy.leave_deadline = Duration::from_millis(50)).started();
    bench.list("ambient");
    bench.is_in().await;
    bench.world.state().connections = 3;
    bench.list("none");
    bench.is_out().await;
}

#[tokio::test]
async fn a_pod_that_is_wanted_back_while_it_drains_is_captured_again() {
    let bench = Bench::new().started();
    bench.list("ambient");
    bench.is_in().await;
    bench.world.state().connections = 1;
    for _ in 0..3 {
        bench.list("none");
        bench
            .becomes("quiet", |bench| bench.stage() == Some(Stage::Draining))
            .await;
        bench.list("ambient");
        bench.is_in().await;
        assert!(bench.world.state().quiet.is_empty());
        assert_eq!(bench.world.state().announced.len(), 1);
    }
    assert!(!bench.done().contains("remove rules"), "{}", bench.done());
    assert_eq!(bench.world.state().holds["sa"], 1);
}

#[tokio::test]
async fn rules_that_cannot_be_changed_keep_the_pod_in() {
    let bench = Bench::new().started();
    bench.list("ambient");
    bench.is_in().await;
    bench.world.state().quieting = Goes::Wrong;
    bench.list("none");
    bench.is_troubled("rules cannot be changed").await;
    assert_eq!(bench.stage(), Some(IN));
    assert_eq!(bench.world.state().announced.len(), 1);
    bench.world.state().quieting = Goes::Well;
    bench.is_out().await;
}

#[tokio::test]
async fn a_del_wins_at_every_step() {
    let hang: [Step; 3] = [
        |state| &mut state.certifying,
        |state| &mut state.opening,
        |state| &mut state.probing,
    ];
    for step in hang {
        let bench = Bench::new().started();
        *step(&mut bench.world.state()) = Goes::Nowhere;
        bench.list("ambient");
        bench
            .becomes("begun", |bench| bench.stage().is_some())
            .await;
        // Gives the step time to be reached; DEL wins wherever it comes.
        tokio::time::sleep(Duration::from_millis(20)).await;
        bench.roster.send_replace(Some(Arc::default()));
        bench.del().await;
        bench.is_out().await;
    }
    let bench = Bench::new().started();
    bench.list("ambient");
    bench.is_in().await;
    bench.world.state().connections = 1;
    bench.list("none");
    bench
        .becomes("draining", |bench| bench.stage() == Some(Stage::Draining))
        .await;
    bench.del().await;
    bench.is_out().await;
}

/// A pod that came by ADD has all in its record that is needed to take it out.
#[tokio::test]
async fn a_pod_that_came_by_add_goes_out_too() {
    let bench = Bench::new();
    let record = Arc::new(bench.record());
    bench.agent.pods.begin(Arc::clone(&record)).await.unwrap();
    bench.world.hold_certificate(&record);
    bench.world.announce(&record).unwrap();
    for event in [
        Event::ListenersOpen,
        Event::RulesInstalled,
        Event::ProbePassed,
        Event::CertificateReady,
        Event::Recorded,
    ] {
        let advanced = bench.agent.pods.advance(&record.attachment, event).await;
        advanced.unwrap();
    }
    bench.list("ambient");
    let bench = bench.started();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.stage(), Some(IN));
    // Not listed at all, and its namespace is none of the mesh.
    bench.roster.send_replace(Some(Arc::default()));
    bench.is_out().await;
}

#[tokio::test]
async fn what_a_restart_finds_on_its_way_is_taken_out_to_the_end() {
    let bench = Bench::new();
    bench.world.state().certifying = Goes::Nowhere;
    let inode = bench.record().namespace_id.inode;
    bench.world.state().rules.insert(inode);
    bench.list("none");
    let recorded = Recorded {
        record: Arc::new(bench.record()),
        admitted: true,
        phase: Phase::Out,
    };
    let waiting = restore::enter(&bench.agent, Snapshot::of(vec![recorded])).await;
    assert!(waiting.unwrap().is_empty(), "it is not served again");
    assert_eq!(bench.stage(), Some(Stage::Draining));
    let bench = bench.started();
    bench.is_out().await;
    assert!(
        bench.done().starts_with("hold sa, quiet"),
        "{}",
        bench.done()
    );
}

#[tokio::test]
async fn connections_that_were_spared_leave_the_rules_when_they_end() {
    let bench = Bench::new().started();
    bench.world.state().open = 2;
    bench.list("ambient");
    bench.is_in().await;
    assert_eq!(bench.plan().spared.len(), 2);
    let key = bench.agent.pods.view()[0].record.attachment.clone();
    for (open, version) in [(2, 2), (1, 2), (0, 1)] {
        bench.world.state().open = open;
        spare_fewer(&bench.agent, &key).await.unwrap();
        bench
            .becomes("fewer", |bench| bench.plan().spared.len() == open)
            .await;
        assert_eq!(bench.plan().version, version);
    }
    bench
        .becomes("recorded", |bench| {
            bench.recorded()[0].record.plan.get("spared").is_none()
        })
        .await;
}
