//! DEL, GC, CHECK, and pods that are replaced.

use cni_plugin_handoff::{Reply, Request};
use tokio::time::{Duration, timeout};

use super::bench::{Bench, check_request, gc_request, inode};
use crate::world::scripted::Goes;

const NOTHING: Reply = Reply::Done {
    was_enrolled: false,
    plan: None,
};
const FORGOTTEN: Reply = Reply::Done {
    was_enrolled: true,
    plan: None,
};

#[tokio::test]
async fn a_deleted_pod_leaves_nothing_and_may_be_deleted_again() {
    let bench = Bench::new();
    bench.add("c1", "p1").await;
    let netns = bench.netns("c1");
    assert_eq!(bench.del("c1", Some(&netns)).await, FORGOTTEN);
    bench.nothing_is_left().await;
    let done = bench.world.state().done.join(", ");
    assert!(
        done.ends_with("remove rules, close uid-p1, release sa1"),
        "{done}"
    );
    assert_eq!(bench.del("c1", Some(&netns)).await, NOTHING);
    assert_eq!(bench.del("never-there", None).await, NOTHING);
}

#[tokio::test]
async fn a_pod_whose_namespace_is_gone_is_forgotten() {
    let bench = Bench::new();
    bench.add("c1", "p1").await;
    std::fs::remove_file(bench.netns("c1")).unwrap();
    bench.world.state().rules.clear();
    assert_eq!(bench.del("c1", None).await, FORGOTTEN);
    bench.nothing_is_left().await;
}

#[tokio::test]
async fn rules_in_a_namespace_that_is_not_the_pods_are_left_alone() {
    let bench = Bench::new();
    bench.add("c1", "p1").await;
    let other = bench.netns("other");
    bench.world.state().rules.insert(inode(&other));
    assert_eq!(bench.del("c1", Some(&other)).await, FORGOTTEN);
    assert!(bench.world.state().rules.contains(&inode(&other)));
}

#[tokio::test]
async fn rules_that_cannot_be_removed_are_the_plugins_to_try() {
    let bench = Bench::new();
    bench.add("c1", "p1").await;
    bench.world.state().removing = Goes::Wrong;
    let reply = bench.del("c1", Some(&bench.netns("c1"))).await;
    assert!(
        matches!(
            reply,
            Reply::Done {
                was_enrolled: true,
                plan: Some(_)
            }
        ),
        "{reply:?}"
    );
    assert!(bench.world.state().listeners.is_empty());
}

#[tokio::test]
async fn a_del_waits_for_the_add_of_the_same_pod() {
    let bench = Bench::new();
    bench.world.state().probing = Goes::Nowhere;
    let adding = bench.installed("c1", "p1").await;
    bench
        .world
        .becomes(|state| state.done.iter().any(|done| done.starts_with("probe")))
        .await;
    let netns = bench.netns("c1");
    let mut del = Box::pin(bench.del("c1", Some(&netns)));
    assert!(
        timeout(Duration::from_millis(100), &mut del).await.is_err(),
        "must wait"
    );
    drop(adding);
    assert_eq!(del.await, NOTHING);
    bench.nothing_is_left().await;
}

#[tokio::test]
async fn a_new_sandbox_replaces_the_old_one() {
    let bench = Bench::new();
    bench.add("old", "p1").await;
    bench.add("new", "p1").await;
    bench.recorded(1).await;
    assert_eq!(bench.world.state().holds["sa1"], 1);
    assert_eq!(bench.world.state().listeners.len(), 1);
    assert_eq!(
        bench.del("old", None).await,
        NOTHING,
        "the old one is forgotten already"
    );
    assert_eq!(bench.world.state().listeners.len(), 1, "the new one stays");
}

#[tokio::test]
async fn an_add_that_is_repeated_counts_once() {
    let bench = Bench::new();
    bench.add("c1", "p1").await;
    bench.add("c1", "p1").await;
    bench.recorded(1).await;
    assert_eq!(bench.world.state().holds["sa1"], 1);
    assert_eq!(bench.del("c1", Some(&bench.netns("c1"))).await, FORGOTTEN);
    bench.nothing_is_left().await;
}

#[tokio::test]
async fn gc_forgets_what_is_not_listed() {
    let bench = Bench::new();
    bench.add("c1", "p1").await;
    bench.add("c2", "p2").await;
    let reply = bench.once(Request::Gc(gc_request(&["c2"])), None).await;
    assert_eq!(reply, FORGOTTEN);
    bench.recorded(1).await;
    assert_eq!(
        bench.once(Request::Gc(gc_request(&["c2"])), None).await,
        NOTHING
    );
    assert_eq!(
        bench.once(Request::Gc(gc_request(&[])), None).await,
        FORGOTTEN
    );
    bench.nothing_is_left().await;
}

#[tokio::test]
async fn gc_spares_a_pod_on_its_way_in() {
    let bench = Bench::new();
    let mut adding = bench.adding("c1", "p1").await;
    adding.hear().await;
    let gc = bench.once(Request::Gc(gc_request(&[])), None);
    let mut gc = Box::pin(gc);
    assert!(
        timeout(Duration::from_millis(100), &mut gc).await.is_err(),
        "waits for the ADD"
    );
    drop(adding);
    assert_eq!(gc.await, NOTHING);
}

async fn check(bench: &Bench, container: &str, pod: &str) -> Vec<String> {
    let netns = bench.netns(container);
    let request = Request::Check(check_request(container, pod, &netns));
    match bench.once(request, Some(&netns)).await {
        Reply::Checked { problems, .. } => problems,
        Reply::NotInMesh { .. } => vec!["not in mesh".to_owned()],
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn check_says_what_is_wrong() {
    let bench = Bench::new();
    bench.add("c1", "p1").await;
    assert_eq!(check(&bench, "c1", "p1").await, Vec::<String>::new());
    bench.world.state().listeners.clear();
    assert_eq!(
        check(&bench, "c1", "p1").await,
        ["the pod has no listeners"]
    );
    assert!(check(&bench, "c2", "p2").await[0].contains("not enrolled, although"));
    assert_eq!(check(&bench, "c3", "plain/x").await, ["not in mesh"]);
    std::fs::rename(bench.netns("c2"), bench.root.path().join("c1")).unwrap();
    assert!(check(&bench, "c1", "p1").await[1].contains("another network namespace"));
}
