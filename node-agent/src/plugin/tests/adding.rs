//! ADD at its best, and interrupted at every step.

use cni_plugin_handoff::{CertificateState, Failure, Reply, Report, Request};
use node_agent_enrollment::{Snapshot, Stage, Traffic};
use node_agent_settings::OnMissingCertificate;
use tokio::time::Duration;

use super::bench::{Bench, add_request, inode};
use crate::world::scripted::Goes;

fn failed(reply: Reply) -> Failure {
    match reply {
        Reply::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_pod_is_enrolled_in_order() {
    let bench = Bench::new();
    let mut plugin = bench.installed("c1", "p1").await;
    let reply = plugin.hear().await;
    assert_eq!(
        reply,
        Reply::Admitted {
            certificate: CertificateState::Ready
        }
    );
    // The record was on disk before the plugin was answered.
    assert_eq!(
        bench.state.load::<Snapshot>().unwrap().document.pods.len(),
        1
    );
    assert_eq!(plugin.try_hear().await, None, "the agent hangs up");
    let done = bench.world.state().done.join(", ");
    assert_eq!(done, "hold sa1, open, probe uid-p1, certificate");
    let view = bench.agent.pods.view();
    assert_eq!(view[0].stage, Stage::Enrolled(Traffic::Ready));
    assert_eq!(view[0].record.addresses[0].to_string(), "10.0.0.7");
}

#[tokio::test]
async fn pods_outside_the_mesh_are_left_alone_even_before_the_agent_is_ready() {
    let bench = Bench::new();
    let _pending = bench.agent.readiness.task("restore");
    for pod in ["plain/x", "system/y"] {
        let reply = bench.adding("c1", pod).await.hear().await;
        assert!(matches!(reply, Reply::NotInMesh { .. }), "{reply:?}");
    }
    assert!(bench.world.state().done.is_empty());
}

#[tokio::test]
async fn a_pod_nobody_listed_is_refused() {
    let bench = Bench::new();
    let failure = failed(bench.adding("c1", "nobody").await.hear().await);
    assert!(
        failure.message.contains("does not list pod nobody"),
        "{}",
        failure.message
    );
    assert!(!failure.retry);
    bench.nothing_is_left().await;
}

#[tokio::test]
async fn an_agent_that_starts_or_stops_enrols_nobody() {
    let bench = Bench::new();
    let pending = bench.agent.readiness.task("restore");
    let failure = failed(bench.adding("c1", "p1").await.hear().await);
    assert!(failure.retry && failure.code == 11, "{failure:?}");
    assert!(
        failure.message.contains("pending: restore"),
        "{}",
        failure.message
    );
    let reply = bench.once(Request::Status, None).await;
    assert!(matches!(reply, Reply::NotReady { reason } if reason.contains("restore")));
    pending.done();
    // The control plane may be a pod that has to start here.
    let control_plane = bench.agent.readiness.task_of_members("control plane");
    let failure = failed(bench.adding("c1", "p1").await.hear().await);
    assert!(
        failure.message.contains("control plane"),
        "{}",
        failure.message
    );
    assert_eq!(bench.once(Request::Status, None).await, Reply::Ready);
    control_plane.done();
    // A restart is over before the runtime should take the node for unready.
    bench.agent.note_ready();
    let again = bench.agent.readiness.task("restore");
    assert_eq!(bench.once(Request::Status, None).await, Reply::Ready);
    again.done();
    bench.agent.stop_enrolling(crate::agent::Stop::Now);
    let failure = failed(bench.adding("c1", "p1").await.hear().await);
    assert!(failure.message.contains("stopping"), "{}", failure.message);
}

#[tokio::test]
async fn without_a_namespace_or_an_address_nothing_begins() {
    let bench = Bench::new();
    let netns = bench.netns("c1");
    let mut request = add_request("c1", "p1", &netns);
    let reply = bench.once(Request::Add(request.clone()), None).await;
    assert!(failed(reply).message.contains("descriptor"));
    request.addresses = vec!["10.0.0.999/8".to_owned()];
    let reply = bench.once(Request::Add(request), Some(&netns)).await;
    assert!(failed(reply).message.contains("10.0.0.999"));
    bench.nothing_is_left().await;
}

/// A failing step is told to the plugin with its reason, leaves nothing, and the retry works.
async fn check_failure(script: impl FnOnce(&Bench), install: Option<Report>, reason: &str) {
    let bench = Bench::with(|policy| {
        policy.on_missing_certificate = OnMissingCertificate::Fail;
        policy.certificate_wait = Duration::from_millis(50);
    });
    script(&bench);
    let mut plugin = match install {
        None => bench.adding("c1", "p1").await,
        Some(Report::Installed { .. }) => bench.installed("c1", "p1").await,
        Some(failed) => {
            let mut plugin = bench.adding("c1", "p1").await;
            plugin.hear().await;
            plugin.report(&failed).await;
            plugin
        }
    };
    let failure = failed(plugin.hear().await);
    assert!(failure.message.contains(reason), "{}", failure.message);
    bench.nothing_is_left().await;
    {
        let mut state = bench.world.state();
        (state.opening, state.probing, state.certifying) = (Goes::Well, Goes::Well, Goes::Well);
    }
    bench.add("c1", "p1").await;
}

const INSTALLED: Option<Report> = Some(Report::Installed { took_micros: 1 });

#[tokio::test]
async fn listeners_that_do_not_open_fail_the_add() {
    check_failure(
        |b| b.world.state().opening = Goes::Wrong,
        None,
        "listeners cannot be opened",
    )
    .await;
}

#[tokio::test]
async fn rules_that_do_not_install_fail_the_add() {
    let report = Report::InstallFailed {
        message: "no iptables here".to_owned(),
    };
    check_failure(|_| {}, Some(report), "no iptables here").await;
}

#[tokio::test]
async fn a_failing_probe_fails_the_add() {
    check_failure(
        |b| b.world.state().probing = Goes::Wrong,
        INSTALLED,
        "self-probe",
    )
    .await;
}

#[tokio::test]
async fn a_late_certificate_fails_the_add_if_so_set() {
    check_failure(
        |b| b.world.state().certifying = Goes::Nowhere,
        INSTALLED,
        "no certificate",
    )
    .await;
}

#[tokio::test]
async fn a_record_that_cannot_be_written_fails_the_add() {
    let bench = Bench::new();
    let obstacle = bench.root.path().join("state/pods.json.new");
    std::fs::create_dir(&obstacle).unwrap();
    let failure = failed(bench.installed("c1", "p1").await.hear().await);
    assert!(
        failure.message.contains("pods.json.new"),
        "{}",
        failure.message
    );
    std::fs::remove_dir(&obstacle).unwrap();
    bench.nothing_is_left().await;
    bench.add("c1", "p1").await;
}

#[tokio::test]
async fn a_late_certificate_holds_traffic_by_default() {
    let bench = Bench::with(|policy| policy.certificate_wait = Duration::from_millis(50));
    bench.world.state().certifying = Goes::Nowhere;
    let reply = bench.installed("c1", "p1").await.hear().await;
    assert_eq!(
        reply,
        Reply::Admitted {
            certificate: CertificateState::Held
        }
    );
}

#[tokio::test]
async fn the_plugins_deadline_bounds_every_step() {
    let bench = Bench::new();
    bench.world.state().opening = Goes::Nowhere;
    let netns = bench.netns("c1");
    let mut request = add_request("c1", "p1", &netns);
    request.deadline_ms = 600;
    let began = std::time::Instant::now();
    let failure = failed(bench.once(Request::Add(request), Some(&netns)).await);
    assert!(failure.message.contains("within"), "{}", failure.message);
    assert!(
        began.elapsed() < Duration::from_millis(600),
        "{:?}",
        began.elapsed()
    );
    bench.nothing_is_left().await;
}

/// Kills the plugin once the world is as wanted.
async fn check_killed(script: impl FnOnce(&Bench), at: &str) {
    let bench = Bench::new();
    script(&bench);
    let plugin = match at {
        "open" => bench.adding("c1", "p1").await,
        "install" => {
            let mut plugin = bench.adding("c1", "p1").await;
            plugin.hear().await;
            bench.world.state().rules.insert(inode(&bench.netns("c1")));
            plugin
        }
        _ => bench.installed("c1", "p1").await,
    };
    if at != "install" {
        bench
            .world
            .becomes(|state| state.done.iter().any(|done| done.starts_with(at)))
            .await;
    }
    drop(plugin);
    bench.nothing_is_left().await;
    {
        let mut state = bench.world.state();
        (state.opening, state.probing, state.certifying) = (Goes::Well, Goes::Well, Goes::Well);
    }
    bench.add("c1", "p1").await;
}

#[tokio::test]
async fn a_plugin_killed_while_listeners_open_leaves_nothing() {
    check_killed(|b| b.world.state().opening = Goes::Nowhere, "open").await;
}

#[tokio::test]
async fn a_plugin_killed_after_its_rules_leaves_nothing() {
    check_killed(|_| {}, "install").await;
}

#[tokio::test]
async fn a_plugin_killed_while_probed_leaves_nothing() {
    check_killed(|b| b.world.state().probing = Goes::Nowhere, "probe").await;
}

#[tokio::test]
async fn a_plugin_killed_while_the_certificate_is_awaited_leaves_nothing() {
    check_killed(
        |b| b.world.state().certifying = Goes::Nowhere,
        "certificate",
    )
    .await;
}

#[tokio::test]
async fn a_hundred_pods_are_added_at_once() {
    let bench = std::sync::Arc::new(Bench::new());
    let mut all = tokio::task::JoinSet::new();
    for n in 0..100 {
        let bench = std::sync::Arc::clone(&bench);
        all.spawn(async move { bench.add(&format!("c{n}"), &format!("p{n}")).await });
    }
    while let Some(outcome) = all.join_next().await {
        outcome.unwrap();
    }
    bench.recorded(100).await;
}
