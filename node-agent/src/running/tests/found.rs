//! Pods that were found running, because nobody told of them.

use node_agent_enrollment::{
    Cluster, Fact, FoundPlace, Labels, NamespaceFacts, Notice, PodFacts, Rules,
};
use node_agent_handover::Located;

use super::*;
use crate::running::seek;

/// What the API server tells: the pod is in the mesh, and runs.
fn told() -> Cluster {
    let mut cluster = Cluster::new(Rules::default());
    let ambient = Labels::from([("istio.io/dataplane-mode".into(), "ambient".into())]);
    let namespace = NamespaceFacts {
        name: "n".into(),
        labels: ambient,
    };
    let pod = PodFacts {
        namespace: "n".into(),
        name: "p".into(),
        uid: "u".into(),
        service_account: Some("sa".into()),
        addresses: vec!["10.0.0.7".parse().unwrap()],
        ..PodFacts::default()
    };
    for fact in [
        Fact::Namespace(Notice::Relisting),
        Fact::Namespace(Notice::Listed(namespace)),
        Fact::Namespace(Notice::Complete),
        Fact::Pod(Notice::Relisting),
        Fact::Pod(Notice::Listed(pod)),
        Fact::Pod(Notice::Complete),
    ] {
        cluster.apply(fact);
    }
    cluster
}

impl Bench {
    fn found(&self, cluster: &mut Cluster, sandbox: Option<&str>) {
        cluster.apply(Fact::Found {
            uid: "u".into(),
            place: Some(FoundPlace {
                netns: self.netns().display().to_string(),
                sandbox: sandbox.map(ToOwned::to_owned),
            }),
        });
        self.roster.send_replace(Some(Arc::new(cluster.roster())));
    }

    /// What the runtime says when it deletes a sandbox of the pod.
    async fn del_of(&self, uid: Option<&str>, netns: Option<PathBuf>) -> bool {
        let request = DelRequest {
            container_id: "the-real-one".into(),
            ifname: "eth0".into(),
            netns: None,
            pod: Some(cni_plugin_handoff::PodRef {
                namespace: "n".into(),
                name: "p".into(),
                uid: uid.map(ToOwned::to_owned),
            }),
            deadline_ms: 5_000,
        };
        let netns = netns.map(|path| std::fs::File::open(path).unwrap().into());
        let deleting = timeout(PATIENCE, del(&self.agent, request, netns));
        let reply = deleting.await.unwrap().unwrap();
        matches!(
            reply,
            Reply::Done {
                was_enrolled: true,
                ..
            }
        )
    }
}

#[tokio::test]
async fn a_pod_is_looked_for_until_it_is_found_and_then_taken_in() {
    let bench = Bench::new().started();
    tokio::spawn(seek(Arc::clone(&bench.agent)));
    let mut cluster = told();
    bench.roster.send_replace(Some(Arc::new(cluster.roster())));
    let unplaced = bench
        .world
        .becomes(|state| state.placed.get("u") == Some(&None));
    timeout(PATIENCE, unplaced).await.unwrap();
    bench.is_troubled("scripted to be nowhere").await;

    let netns = bench.netns().display().to_string();
    let place = Located::At {
        netns: netns.clone(),
        sandbox: Some("c".into()),
    };
    bench.world.state().located.insert("u".into(), place);
    let placed = |state: &State| {
        state.placed["u"]
            .as_ref()
            .is_some_and(|place| place.netns == netns)
    };
    timeout(PATIENCE, bench.world.becomes(placed))
        .await
        .unwrap();
    bench.found(&mut cluster, Some("c"));
    bench.is_in().await;
    let view = bench.agent.pods.view();
    assert_eq!(view[0].record.attachment.to_string(), "c/eth0");
    assert_eq!(view[0].record.service_account, "sa");
}

#[tokio::test]
async fn a_sandbox_whose_name_is_not_known_is_deleted_by_its_namespace() {
    for (uid, with_netns) in [
        (Some("u"), true),
        (None, true),
        (Some("u"), false),
        (None, false),
    ] {
        let bench = Bench::new().started();
        bench.found(&mut told(), None);
        bench.is_in().await;
        assert!(bench.agent.pods.view()[0].record.attachment.is_assumed());
        // No list of the runtime can name it, and what it does not list is not gone.
        let missing = bench.agent.pods.missing_from(Vec::new()).await.unwrap();
        assert!(missing.is_empty());

        // An earlier sandbox of the same pod, and a later pod of that name.
        let other = bench.root.path().join("other");
        std::fs::write(&other, "").unwrap();
        assert!(!bench.del_of(uid, Some(other.clone())).await);
        assert!(
            !bench.del_of(uid, None).await,
            "its namespace is still there"
        );
        assert!(!bench.del_of(Some("later"), Some(bench.netns())).await);
        assert_eq!(bench.stage(), Some(IN));

        let netns = with_netns.then(|| bench.netns());
        if netns.is_none() {
            std::fs::remove_file(bench.netns()).unwrap();
            bench.world.state().rules.clear();
        }
        // It would be taken in again.
        bench.roster.send_replace(None);
        assert!(bench.del_of(uid, netns).await, "{uid:?} {with_netns}");
        bench.is_out().await;
    }
}

#[tokio::test]
async fn what_the_runtime_adds_meanwhile_is_not_taken_in_twice() {
    let bench = Bench::new();
    let mut added = bench.record();
    added.attachment.container_id = "the-real-one".into();
    let added = Arc::new(added);
    bench.agent.pods.begin(Arc::clone(&added)).await.unwrap();
    bench.world.hold_certificate(&added);
    let member = node_agent_enrollment::Member {
        service_account: "sa".into(),
        reason: "its label".into(),
    };
    let mut cluster = told();
    bench.found(&mut cluster, None);
    let place = cluster.roster().pod("n", "p").unwrap().place().unwrap();
    let candidate = Candidate {
        pod: added.pod.clone(),
        member,
        place,
    };
    assert!(
        timeout(PATIENCE, join(&bench.agent, candidate))
            .await
            .unwrap()
            .is_ok()
    );
    assert_eq!(bench.agent.pods.view().len(), 1);
    assert!(!bench.done().contains("capture"), "{}", bench.done());
}
