//! ADD of pods that are not known yet, because the runtime is ahead of the watch.

use cni_plugin_handoff::Reply;
use node_agent_enrollment::{Asked, Labels, OnUnknown, PodFacts, Rules};
use tokio::time::{Duration, timeout};

use super::bench::{Bench, PATIENCE, inode};
use crate::world::scripted::Goes;

/// The API server's answer: a pod of namespace `mesh`, with this label.
fn answer(name: &str, mode: &str) -> Asked {
    let facts = PodFacts {
        namespace: "mesh".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        service_account: Some("late".into()),
        labels: Labels::from([("istio.io/dataplane-mode".into(), mode.into())]),
        ..PodFacts::default()
    };
    Asked::Pod {
        pod: Box::new(Rules::default().listed(facts)),
        namespace: None,
    }
}

async fn refused(bench: &Bench) -> cni_plugin_handoff::Failure {
    match bench.adding("c1", "new").await.hear().await {
        Reply::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_the_api_server_answers_decides() {
    let bench = Bench::new();
    bench.world.state().answer = Some(answer("new", ""));
    bench.add("c1", "new").await;
    let view = bench.agent.pods.view();
    assert_eq!(view[0].record.service_account, "late");
    assert!(
        bench
            .world
            .state()
            .rules
            .contains(&inode(&bench.netns("c1")))
    );

    bench.world.state().answer = Some(answer("other", "none"));
    let reply = bench.adding("c2", "other").await.hear().await;
    assert!(matches!(reply, Reply::NotInMesh { .. }), "{reply:?}");
    // What is known is not asked for.
    bench.world.state().done.clear();
    bench.add("c3", "p1").await;
    let done = bench.world.state().done.join(", ");
    assert!(!done.contains("ask"), "{done}");
}

#[tokio::test]
async fn without_an_answer_no_pod_of_the_mesh_starts() {
    for setting in [OnUnknown::Fail, OnUnknown::Start] {
        let bench = Bench::with(|policy| policy.on_unknown = setting);
        let mut complaints = bench.agent.complaints().unwrap();
        bench.world.state().asking = Goes::Wrong;
        let failure = refused(&bench).await;
        assert!(
            failure.message.contains("scripted to fail"),
            "{}",
            failure.message
        );
        bench.world.state().asking = Goes::Well;
        bench.world.state().answer = Some(Asked::NoSuchPod);
        let failure = refused(&bench).await;
        assert!(
            failure.message.contains("has no pod mesh/new"),
            "{}",
            failure.message
        );
        bench.nothing_is_left().await;
        for part in ["scripted to fail", "has no pod"] {
            let warning = timeout(PATIENCE, complaints.recv()).await.unwrap().unwrap();
            assert_eq!(warning.reason, "EnrolmentRefused");
            assert!(warning.note.contains(part), "{}", warning.note);
        }
    }
}

#[tokio::test]
async fn a_plugin_that_goes_away_is_not_asked_for() {
    let bench = Bench::new();
    bench.world.state().asking = Goes::Nowhere;
    let plugin = bench.adding("c1", "new").await;
    let asked = bench
        .world
        .becomes(|state| state.done.iter().any(|what| what.starts_with("ask")));
    timeout(PATIENCE, asked).await.unwrap();
    drop(plugin);
    bench.nothing_is_left().await;
    // The conversation is over, so the next one of the same pod does not wait.
    bench.world.state().asking = Goes::Well;
    bench.world.state().answer = Some(answer("new", ""));
    timeout(Duration::from_secs(5), bench.add("c1", "new"))
        .await
        .unwrap();
}
