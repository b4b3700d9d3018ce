#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use node_agent_enrollment::{
    Annotate, Asked, Decision, FoundPlace, ListedPod, OnUnknown, PodRef, Roster, Rules, decide,
    decide_asked,
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::follow::Limits;
use crate::keeper::{ClusterHandle, ClusterSettings, start_with, until_whole};
use crate::link::Link;
use crate::scripted::{Api, NAMESPACES, PODS, namespace, pod};
use crate::tell::Warning;

const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    api: Api,
    handle: ClusterHandle,
    roster: watch::Receiver<Option<Arc<Roster>>>,
    _tasks: JoinSet<()>,
}

impl Bench {
    /// Namespace `mesh` is ambient and has pod `a`; `plain` has `b`.
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(prepare: impl FnOnce(&Api)) -> Self {
        let api = Api::start().await;
        api.apply(NAMESPACES, namespace("mesh", "ambient"));
        api.apply(NAMESPACES, namespace("plain", ""));
        api.apply(PODS, pod("mesh", "a", "u1", ""));
        api.apply(PODS, pod("plain", "b", "u2", ""));
        prepare(&api);
        let mut tasks = JoinSet::new();
        let settings = ClusterSettings {
            access: api.access(),
            node: "node-a".into(),
            rules: Rules::default(),
        };
        let limits = Limits {
            answer: Duration::from_secs(1),
            ..Limits::default()
        };
        let started = start_with(settings, limits, &mut tasks);
        Self {
            api,
            handle: started.handle,
            roster: started.roster,
            _tasks: tasks,
        }
    }

    async fn whole() -> Self {
        let mut bench = Self::new().await;
        timeout(PATIENCE, until_whole(&mut bench.roster))
            .await
            .unwrap();
        bench
    }

    fn roster(&self) -> Roster {
        Roster::clone(self.roster.borrow().as_ref().unwrap())
    }

    /// Waits until the pods are these.
    async fn has(&mut self, expected: &str) {
        let names = |roster: &Roster| {
            let mut all: Vec<&str> = roster.pods().map(|pod| pod.name.as_str()).collect();
            all.sort_unstable();
            all.join(" ")
        };
        let there = |roster: &Option<Arc<Roster>>| names(roster.as_ref().unwrap()) == expected;
        let waiting = self.roster.wait_for(there);
        let reached = timeout(PATIENCE, waiting).await.is_ok();
        assert!(reached, "{:?}, not {expected}", names(&self.roster()));
    }

    async fn link(&self, wanted: impl Fn(&Link) -> bool) {
        let reached = timeout(PATIENCE, self.handle.until_links(wanted)).await;
        assert!(reached.is_ok(), "{:?}", self.handle.status());
    }

    async fn is_up(&self) {
        self.link(|link| matches!(link, Link::Up { .. })).await;
    }

    async fn is_down(&self, part: &str) {
        self.link(|link| matches!(link, Link::Down { why, .. } if why.contains(part)))
            .await;
    }

    /// Waits until the API server was used as wanted.
    async fn api_sees(&self, wanted: impl Fn(&crate::scripted::State) -> bool) {
        let reached = timeout(PATIENCE, self.api.becomes(wanted)).await;
        assert!(reached.is_ok(), "{:?}", self.api.state().asked);
    }

    fn lists(&self) -> usize {
        let state = self.api.state();
        let is_list =
            |asked: &&String| !asked.contains("watch=true") || asked.contains("sendInitialEvents");
        state.asked.iter().filter(is_list).count()
    }
}

fn reference(namespace: &str, name: &str, uid: &str) -> PodRef {
    PodRef {
        namespace: namespace.into(),
        name: name.into(),
        uid: Some(uid.into()),
    }
}

#[tokio::test]
async fn what_there_is_and_what_changes_is_heard() {
    let mut bench = Bench::whole().await;
    bench.has("a b").await;
    bench.is_up().await;
    let decision = decide(Some(&bench.roster()), &[], &reference("mesh", "a", "u1"));
    let Decision::InMesh(member) = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(member.service_account, "sa");
    let pods = bench.api.state().asked.iter().any(|asked| {
        asked.contains(PODS) && asked.contains("fieldSelector=spec.nodeName%3Dnode-a")
    });
    assert!(pods, "only this node's: {:?}", bench.api.state().asked);

    bench.api.apply(PODS, pod("mesh", "c", "u3", "none"));
    bench.has("a b c").await;
    bench.api.delete(PODS, "mesh", "a");
    bench.has("b c").await;
    bench.api.apply(NAMESPACES, namespace("plain", "ambient"));
    let ambient = |roster: &Option<Arc<Roster>>| {
        let labels = roster.as_ref().unwrap().namespace_labels("plain").cloned();
        labels.unwrap().values().any(|mode| mode == "ambient")
    };
    timeout(PATIENCE, bench.roster.wait_for(ambient))
        .await
        .unwrap()
        .unwrap();
    let counts = bench.handle.status().counts;
    assert_eq!((counts.pods, counts.namespaces), (2, 2));
    assert!(bench.handle.status().pods.listed.is_some());
}

#[tokio::test]
async fn lists_are_read_in_pages_where_they_cannot_be_streamed() {
    let mut bench = Bench::with(|api| {
        api.change(|state| {
            state.pages_only = true;
            state.page = 1;
        });
    })
    .await;
    timeout(PATIENCE, until_whole(&mut bench.roster))
        .await
        .unwrap();
    bench.has("a b").await;
    let asked = |text: &str| {
        bench
            .api
            .state()
            .asked
            .iter()
            .filter(|a| a.contains(text))
            .count()
    };
    // Tried once for each kind.
    assert_eq!((asked("sendInitialEvents"), asked("continue=")), (2, 2));
    bench.api.apply(PODS, pod("mesh", "c", "u3", ""));
    bench.has("a b c").await;
}

#[tokio::test]
async fn a_watch_that_ends_is_taken_up_where_it_was() {
    for abruptly in [false, true] {
        let mut bench = Bench::whole().await;
        bench.api_sees(|state| state.watched() == 2).await;
        // The version moves on although nothing of ours has changed.
        bench.api.bookmark();
        bench.api.apply(PODS, pod("mesh", "c", "u3", ""));
        bench.has("a b c").await;
        let lists = bench.lists();
        bench.api.end_watches(abruptly);
        bench.api.apply(PODS, pod("mesh", "d", "u4", ""));
        bench.has("a b c d").await;
        bench.is_up().await;
        assert_eq!(
            bench.lists(),
            lists,
            "nothing had to be listed: {:?}",
            bench.api.state().asked
        );
    }
}

#[tokio::test]
async fn what_the_api_server_forgot_is_listed_again_and_nothing_is_forgotten_meanwhile() {
    for in_the_watch in [false, true] {
        let mut bench = Bench::whole().await;
        bench.api_sees(|state| state.watched() == 2).await;
        let mut every_state = bench.roster.clone();
        let (lists, roster) = (bench.lists(), bench.roster.clone());
        let emptied = tokio::spawn(async move {
            let empty = every_state.wait_for(|r| r.as_ref().unwrap().pod("mesh", "a").is_none());
            empty.await.is_ok()
        });
        let handle = bench.handle.clone();
        let waits = tokio::spawn(async move {
            let told = |link: &Link| matches!(link, Link::Down { why, .. } if why.contains("410"));
            handle.until_links(told).await;
        });
        bench.api.change(|state| state.refuses = Some(503));
        bench.api.end_watches(true);
        bench.is_down("503").await;
        // Its end is not heard of: that is what must be told from the list.
        bench.api.delete(PODS, "plain", "b");
        bench.api.apply(PODS, pod("mesh", "c", "u3", ""));
        bench.api.change(|state| {
            state.forgot = if in_the_watch { 0 } else { u64::MAX };
            state.refuses = None;
        });
        if in_the_watch {
            bench.api_sees(|state| state.watched() == 2).await;
            bench.api.fail_watches(410);
        }
        bench.has("a c").await;
        bench.api.change(|state| state.forgot = 0);
        bench.is_up().await;
        assert!(in_the_watch || bench.lists() > lists);
        assert!(!emptied.is_finished(), "what stayed was there all the time");
        assert!(!waits.is_finished(), "it lists at once, which is no outage");
        drop(roster);
        emptied.abort();
        waits.abort();
    }
}

#[tokio::test]
async fn while_the_api_server_is_away_what_was_known_stays_in_force() {
    let mut bench = Bench::whole().await;
    bench.api.change(|state| state.refuses = Some(500));
    bench.api.end_watches(true);
    bench.is_down("500").await;
    let roster = bench.roster();
    for (pod, known) in [
        (reference("mesh", "a", "u1"), true),
        (reference("plain", "b", "u2"), false),
    ] {
        let decision = decide(Some(&roster), &[], &pod);
        assert_eq!(
            matches!(decision, Decision::InMesh(_)),
            known,
            "{decision:?}"
        );
    }
    let unknown = reference("mesh", "new", "u9");
    let asked = bench.handle.ask(&unknown, PATIENCE).await;
    assert!(
        matches!(&asked, Asked::NoAnswer { why } if why.contains("500")),
        "{asked:?}"
    );
    let decision = decide_asked(Some(&roster), &[], &unknown, &asked, OnUnknown::Start);
    assert!(matches!(decision, Decision::Unknown { .. }), "{decision:?}");

    bench.api.change(|state| state.refuses = None);
    bench.api.apply(PODS, pod("mesh", "c", "u3", ""));
    bench.has("a b c").await;
    bench.is_up().await;
}

#[tokio::test]
async fn an_api_server_that_hangs_is_not_waited_for() {
    let mut bench = Bench::with(|api| api.change(|state| state.hangs = true)).await;
    bench.is_down("does not answer within").await;
    let began = std::time::Instant::now();
    let limit = Duration::from_millis(50);
    let asked = bench.handle.ask(&reference("mesh", "a", "u1"), limit).await;
    assert!(matches!(asked, Asked::NoAnswer { .. }), "{asked:?}");
    assert!(began.elapsed() < PATIENCE);
    bench.api.change(|state| state.hangs = false);
    bench.has("a b").await;
}

#[tokio::test]
async fn a_token_that_was_replaced_is_read_again() {
    let mut bench =
        Bench::with(|api| api.change(|state| state.token = Some("second".into()))).await;
    bench.is_down("token is not accepted").await;
    let asked = bench
        .handle
        .ask(&reference("mesh", "a", "u1"), PATIENCE)
        .await;
    assert!(matches!(asked, Asked::NoAnswer { .. }), "{asked:?}");
    bench.api.write_token("second");
    timeout(PATIENCE, until_whole(&mut bench.roster))
        .await
        .unwrap();
    let asked = bench
        .handle
        .ask(&reference("mesh", "a", "u1"), PATIENCE)
        .await;
    assert!(matches!(asked, Asked::Pod { .. }), "{asked:?}");
}

#[tokio::test]
async fn a_pod_the_watch_does_not_know_is_asked_for() {
    let bench = Bench::whole().await;
    bench.api.change(|state| state.forgot = u64::MAX);
    let known = bench
        .handle
        .ask(&reference("mesh", "a", "u1"), PATIENCE)
        .await;
    let Asked::Pod { pod, namespace } = known else {
        panic!()
    };
    assert_eq!(
        (pod.uid.as_deref(), pod.service_account.as_str()),
        (Some("u1"), "sa")
    );
    assert_eq!(namespace.unwrap()["istio.io/dataplane-mode"], "ambient");
    let nobody = bench
        .handle
        .ask(&reference("mesh", "x", "u1"), PATIENCE)
        .await;
    assert_eq!(nobody, Asked::NoSuchPod);
}

#[tokio::test]
async fn where_a_pod_was_found_is_part_of_what_is_known() {
    let mut bench = Bench::whole().await;
    let place = FoundPlace {
        netns: "/run/netns/x".into(),
        sandbox: Some("c".into()),
    };
    bench.handle.found("u1".into(), Some(place)).await;
    let placed = |roster: &Option<Arc<Roster>>| {
        let roster = roster.as_ref().unwrap();
        roster.pod("mesh", "a").and_then(ListedPod::place).is_some()
    };
    timeout(PATIENCE, bench.roster.wait_for(placed))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn annotations_and_events_are_written() {
    let bench = Bench::whole().await;
    let annotate = |value| Annotate {
        namespace: "mesh".into(),
        name: "a".into(),
        uid: "u1".into(),
        value,
    };
    let warning = Warning {
        pod: reference("mesh", "a", "u1"),
        reason: "EnrolmentFailed",
        note: "no certificate".into(),
    };
    bench
        .handle
        .annotate(&annotate(Some("enabled")))
        .await
        .unwrap();
    bench.handle.annotate(&annotate(None)).await.unwrap();
    bench.handle.warn(&warning).await.unwrap();
    {
        let state = bench.api.state();
        let (paths, bodies): (Vec<&str>, Vec<&Value>) = state
            .written
            .iter()
            .map(|(path, body)| (path.as_str(), body))
            .unzip();
        let pod = "PATCH /api/v1/namespaces/mesh/pods/a/status";
        assert_eq!(paths, [pod, pod, "POST /api/v1/namespaces/mesh/events"]);
        let key = "ambient.istio.io/redirection";
        let metadata =
            |value: Value| json!({"metadata": {"uid": "u1", "annotations": {key: value}}});
        assert_eq!(*bodies[0], metadata("enabled".into()));
        assert_eq!(*bodies[1], metadata(Value::Null), "null takes it away");
        assert_eq!(bodies[2]["involvedObject"]["uid"], "u1");
        assert_eq!(bodies[2]["type"], "Warning");
        assert_eq!(bodies[2]["message"], "no certificate");
        assert_eq!(bodies[2]["source"]["host"], "node-a");
    }
    for (code, pointless) in [(403, false), (404, true), (409, true), (500, false)] {
        bench.api.change(|state| state.refuses_writes = Some(code));
        let error = bench.handle.annotate(&annotate(None)).await.unwrap_err();
        assert_eq!(error.is_pointless(), pointless, "{error}");
    }
}

/// A pod with these addresses, captured or not.
fn at(name: &str, addresses: &[&str], redirection: &str) -> Value {
    let mut pod = pod("mesh", name, name, "");
    pod["metadata"]["annotations"] = json!({"ambient.istio.io/redirection": redirection});
    let ips: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    pod["status"] = json!({"phase": "Running", "podIP": addresses[0], "podIPs": ips});
    pod
}

#[tokio::test]
async fn who_has_an_address_is_found_by_it_whichever_of_the_two_it_is() {
    let bench = Bench::with(|api| {
        api.change(|state| state.page = 2);
        api.apply(PODS, at("server", &["10.0.0.9", "fd00::9"], "enabled"));
        api.apply(PODS, at("other", &["10.0.0.8"], ""));
        let mut ended = at("ended", &["10.0.0.9"], "enabled");
        ended["status"]["phase"] = "Succeeded".into();
        api.apply(PODS, ended);
        let mut node = at("node", &["10.0.0.7"], "");
        node["spec"]["hostNetwork"] = true.into();
        api.apply(PODS, node);
    })
    .await;
    let found = async |ip: &str| {
        let asked = bench.handle.occupants(ip.parse().unwrap(), PATIENCE).await;
        let of = |pod: ListedPod| (pod.name, pod.seen.unwrap().redirection.unwrap_or_default());
        asked.unwrap().into_iter().map(of).collect::<Vec<_>>()
    };
    let server = [("server".to_owned(), "enabled".to_owned())];
    assert_eq!(found("10.0.0.9").await, server);
    assert_eq!(found("fd00::9").await, server);
    assert_eq!(
        found("10.0.0.8").await,
        [("other".to_owned(), String::new())]
    );
    for nobody in ["10.0.0.7", "10.0.0.6", "fd00::6"] {
        assert_eq!(found(nobody).await, []);
    }
}

#[tokio::test]
async fn that_nobody_tells_who_has_an_address_is_said_in_time() {
    let bench = Bench::whole().await;
    let ip = "10.0.0.9".parse().unwrap();
    bench.api.change(|state| state.refuses = Some(503));
    let error = bench.handle.occupants(ip, PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("503"), "{error}");
    bench
        .api
        .change(|state| (state.refuses, state.hangs) = (None, true));
    let limit = Duration::from_millis(200);
    let asked = timeout(PATIENCE, bench.handle.occupants(ip, limit))
        .await
        .unwrap();
    let error = asked.unwrap_err().to_string();
    assert!(error.contains("does not answer within"), "{error}");
}
