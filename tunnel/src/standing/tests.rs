#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::cell::Cell;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{LocalSet, spawn_local};
use tunnel_discovery::{MeshStore, parse_document};
use tunnel_model::{Identity, Parties, PodUid, SourceAddr};
use tunnel_telemetry::{ConnectionStart, Direction, Security, WriterGuard};

use super::*;
use crate::application::Ports;
use crate::pod::PodFacts;
use crate::testing::context;

const EVERYBODY: &str = "[[]]";
const NOBODY_KNOWN: &str = r#"[[[{"notPrincipals": [{"presence": {}}]}]]]"#;

/// A thread of the data plane with two pods, and what they let in.
struct Thread {
    mesh: MeshStore,
    web: Rc<Pod>,
    other: Rc<Pod>,
    log: Log,
    _writer: WriterGuard,
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        written.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A mesh with both pods. `attached`: names of policies of the first one's; `policies`: name,
/// scope, action and rules.
fn tell(mesh: &MeshStore, attached: &[&str], policies: &[(&str, &str, &str, &str)]) {
    let workload = |name: &str, attached: &[&str]| {
        format!(
            r#"{{"uid": "Kubernetes//Pod/shop/{name}", "name": "{name}", "namespace": "shop",
            "serviceAccount": "{name}", "trustDomain": "cluster.local", "protocol": "HBONE",
            "workloadIps": [], "status": "Healthy", "authorizationPolicies": {attached:?}}}"#
        )
    };
    let policies: Vec<String> = policies
        .iter()
        .map(|(name, scope, action, rules)| {
            format!(
                r#"{{"name": "{name}", "namespace": "shop", "scope": "{scope}",
                "action": "{action}", "rules": {rules}}}"#
            )
        })
        .collect();
    let text = format!(
        r#"{{"workloads": [{}, {}], "services": [], "policies": [{}]}}"#,
        workload("web", attached),
        workload("other", &[]),
        policies.join(",")
    );
    mesh.set_state(parse_document(&text, std::path::Path::new("mesh")).unwrap());
}

fn identity(name: &str) -> Identity {
    Identity::new("cluster.local", "shop", name).unwrap()
}

impl Thread {
    fn start() -> Self {
        let mesh = MeshStore::new();
        tell(&mesh, &[], &[]);
        let log = Log::default();
        let (context, writer) = context(&mesh, None, Box::new(log.clone()));
        let pod = |name: &str| {
            let facts = PodFacts {
                uid: PodUid::from(name),
                key: name.into(),
                name: name.into(),
                namespace: "shop".into(),
                identity: identity(name),
                ports: Arc::new(Ports::new(0)),
            };
            Pod::new(facts, Rc::clone(&context))
        };
        let (web, other) = (pod("web"), pod("other"));
        let pods = Pods::default();
        for pod in [&web, &other] {
            let key = Arc::clone(&pod.facts.key);
            pods.borrow_mut().insert(key, Rc::clone(pod));
        }
        spawn_local(keep(pods, mesh.reader()));
        Self {
            mesh,
            web,
            other,
            log,
            _writer: writer,
        }
    }

    /// A connection that is let in, and stays until it is cut: in a tunnel of this peer's, or in
    /// clear.
    fn connection(&self, pod: &Rc<Pod>, peer: Option<&str>) {
        let source: SocketAddr = "10.0.0.1:4000".parse().unwrap();
        let to = NextHop::new("10.0.0.2:8080".parse().unwrap());
        let (live, client) = match peer {
            Some(name) => {
                let peer = Peer {
                    address: SourceAddr::new(source),
                    called: to.get(),
                    identity: identity(name),
                };
                (&pod.live.streams, Client::Peer(Rc::new(peer)))
            }
            None => (&pod.live.plaintext, Client::Unknown(source.ip())),
        };
        let standing = Standing::new(client, to);
        let start = ConnectionStart {
            direction: Direction::Inbound,
            source,
            destination: to.get(),
            hbone_target: None,
            parties: Parties::default(),
            source_identity: peer.map(identity),
            destination_identity: None,
            security: Security::Unknown,
            started: std::time::Instant::now(),
        };
        let connection = pod.context.parts.telemetry.connection(&start);
        let watched = Watched::new(connection, Rc::clone(&standing));
        let mut id = 0;
        live.spawn_at(|given| {
            id = given;
            async move {
                let _watched = watched;
                std::future::pending::<()>().await;
            }
        });
        let snapshot = self.mesh.reader().load();
        let own = pod.own_in(&snapshot).unwrap();
        pod.stand(live, id, &standing, (&snapshot, &own));
    }

    /// Connections of the first pod in tunnels and in clear, and of the second in tunnels, once
    /// whatever is under way has been done.
    async fn left(&self) -> (usize, usize, usize) {
        for _ in 0..100 {
            yield_now().await;
        }
        let lives = &self.web.live;
        let other = self.other.live.streams.count();
        (lives.streams.count(), lives.plaintext.count(), other)
    }

    fn log(&self) -> String {
        String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap()
    }
}

/// With time that passes only when nothing else is to be done.
fn on_a_thread(test: impl AsyncFnOnce(Thread)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async { test(Thread::start()).await });
}

/// Two connections of each kind to one pod, one to another.
async fn five(thread: &Thread) {
    for _ in 0..2 {
        thread.connection(&thread.web, Some("client"));
        thread.connection(&thread.web, None);
    }
    thread.connection(&thread.other, Some("client"));
    assert_eq!(thread.left().await, (2, 2, 1));
}

#[test]
fn whom_a_new_policy_forbids_is_cut_whatever_it_names() {
    // What is told; who is left.
    type Told = (
        &'static [&'static str],
        &'static [(&'static str, &'static str, &'static str, &'static str)],
    );
    let table: [(Told, (usize, usize, usize)); 8] = [
        ((&[], &[]), (2, 2, 1)),
        (
            (
                &["shop/one"],
                &[("one", "WorkloadSelector", "Deny", EVERYBODY)],
            ),
            (0, 0, 1),
        ),
        (
            (&[], &[("one", "WorkloadSelector", "Deny", EVERYBODY)]),
            (2, 2, 1),
        ),
        ((&[], &[("all", "Namespace", "Deny", EVERYBODY)]), (0, 0, 0)),
        ((&[], &[("all", "Global", "Deny", EVERYBODY)]), (0, 0, 0)),
        // STRICT ends what came in clear.
        (
            (
                &["shop/strict"],
                &[("strict", "WorkloadSelector", "Deny", NOBODY_KNOWN)],
            ),
            (2, 0, 1),
        ),
        // An ALLOW policy forbids whom it does not name.
        (
            (
                &["shop/some"],
                &[(
                    "some",
                    "WorkloadSelector",
                    "Allow",
                    r#"[[[{"principals": [{"exact": "cluster.local/ns/shop/sa/client"}]}]]]"#,
                )],
            ),
            (2, 0, 1),
        ),
        // Where nothing listens, nothing is forbidden.
        (
            (
                &[],
                &[(
                    "port",
                    "Global",
                    "Deny",
                    r#"[[[{"destinationPorts": [1]}]]]"#,
                )],
            ),
            (2, 2, 1),
        ),
    ];
    for ((attached, policies), left) in table {
        on_a_thread(async |thread| {
            five(&thread).await;
            tell(&thread.mesh, attached, policies);
            assert_eq!(thread.left().await, left, "{attached:?} {policies:?}");
        });
    }
}

#[test]
fn the_line_says_that_it_was_cut_why_and_by_whom() {
    on_a_thread(async |thread| {
        five(&thread).await;
        tell(
            &thread.mesh,
            &["shop/one"],
            &[("one", "WorkloadSelector", "Deny", EVERYBODY)],
        );
        thread.left().await;
        let error = "connection closed due to policy change: connection closed due to policy \
                     rejection: explicitly denied by: shop/one";
        // The writer is a thread of its own.
        let lines = || thread.log().matches(error).count();
        let began = std::time::Instant::now();
        while lines() < 4 && began.elapsed() < Duration::from_secs(20) {
            yield_now().await;
        }
        assert_eq!(lines(), 4, "{}", thread.log());
        let log = thread.log();
        assert_eq!(log.matches("policy shop/one").count(), 4, "{log}");
    });
}

#[test]
fn a_policy_that_is_attached_and_has_not_come_is_awaited_and_then_refuses() {
    on_a_thread(async |thread| {
        five(&thread).await;
        tell(&thread.mesh, &["shop/late"], &[]);
        assert_eq!(thread.left().await, (2, 2, 1));
        // It came in time, and lets some through.
        tell(
            &thread.mesh,
            &["shop/late"],
            &[("late", "WorkloadSelector", "Deny", NOBODY_KNOWN)],
        );
        assert_eq!(thread.left().await, (2, 0, 1));
        let patience = thread.web.context.settings.workload_wait;
        tokio::time::sleep(patience * 2).await;
        assert_eq!(thread.left().await, (2, 0, 1));
        // It is gone, and the workload still names it.
        tell(&thread.mesh, &["shop/late"], &[]);
        assert_eq!(thread.left().await, (2, 0, 1));
        tokio::time::sleep(patience * 2).await;
        assert_eq!(thread.left().await, (0, 0, 1));
    });
}

#[test]
fn a_pod_that_is_not_told_any_more_keeps_what_was_attached_to_it() {
    on_a_thread(async |thread| {
        let strict = ("strict", "WorkloadSelector", "Deny", NOBODY_KNOWN);
        tell(&thread.mesh, &["shop/strict"], &[strict]);
        thread.connection(&thread.web, Some("client"));
        let text = r#"{"workloads": [], "services": [], "policies": []}"#;
        let nothing = parse_document(text, std::path::Path::new("mesh")).unwrap();
        thread.mesh.set_state(nothing);
        assert_eq!(thread.left().await, (1, 0, 0));
        let text = r#"{"workloads": [], "services": [], "policies": [{"name": "strict",
            "namespace": "shop", "scope": "WorkloadSelector", "action": "Deny", "rules": [[]]}]}"#;
        let closed = parse_document(text, std::path::Path::new("mesh")).unwrap();
        thread.mesh.set_state(closed);
        assert_eq!(thread.left().await, (0, 0, 0));
    });
}

#[test]
fn others_have_their_turns_while_many_are_judged() {
    on_a_thread(async |thread| {
        for _ in 0..2000 {
            thread.connection(&thread.web, Some("client"));
        }
        let turns = Rc::new(Cell::new(0));
        let counted = Rc::clone(&turns);
        spawn_local(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        });
        thread.left().await;
        // So many rules that all connections together take far longer than one turn.
        let rule = r#"[[{"destinationPorts": [1]}]]"#;
        let rules = format!("[{}]", vec![rule; 1000].join(","));
        tell(&thread.mesh, &[], &[("long", "Namespace", "Deny", &rules)]);
        let snapshot = thread.mesh.reader().load();
        let due = thread.web.due(&snapshot, Instant::now()).unwrap();
        let before = turns.get();
        judge(&[due]).await;
        assert!(turns.get() - before > 5, "{} turns", turns.get() - before);
        assert_eq!(thread.left().await, (2000, 0, 0));
        // Nothing is to be done on account of what does not concern them.
        tell(
            &thread.mesh,
            &[],
            &[
                ("long", "Namespace", "Deny", &rules),
                ("x", "WorkloadSelector", "Deny", EVERYBODY),
            ],
        );
        let snapshot = thread.mesh.reader().load();
        assert!(thread.web.due(&snapshot, Instant::now()).is_none());
    });
}

#[test]
fn a_pod_that_is_not_told_of_is_judged_by_what_may_select_it_until_it_is() {
    on_a_thread(async |thread| {
        // This node says that the pod is there; discovery has told of another, and of policies.
        let selecting = |rules: &'static str| ("some", "WorkloadSelector", "Deny", rules);
        let tell_without = |rules| {
            let text = format!(
                r#"{{"workloads": [], "services": [], "policies": [{{"name": "some",
                "namespace": "shop", "scope": "WorkloadSelector", "action": "Deny",
                "rules": {rules}}}]}}"#
            );
            let state = parse_document(&text, std::path::Path::new("mesh")).unwrap();
            thread.mesh.set_state(state);
        };
        tell_without(NOBODY_KNOWN);
        let local = Workload::new(
            "Kubernetes//Pod/shop/web",
            "web",
            identity("web"),
            Vec::new(),
        );
        thread.mesh.upsert_local(PodUid::from("web"), local);
        let facts = |snapshot: &Snapshot, own: &Arc<Workload>, peer| {
            let by = InForce::untold(snapshot, own, "istio-system");
            let asked = PolicyFacts {
                identity: peer,
                source_ip: "10.0.0.1".parse().unwrap(),
                destination_ip: "10.0.0.2".parse().unwrap(),
                destination_port: 8080,
            };
            by.judge(&asked, Missing::Refuse)
        };
        let snapshot = thread.mesh.reader().load();
        let own = thread.web.own_in(&snapshot).unwrap();
        assert!(!snapshot.is_discovered(&own.uid));
        let peer = identity("client");
        facts(&snapshot, &own, Some(&peer)).unwrap();
        facts(&snapshot, &own, None).unwrap_err();
        thread.connection(&thread.web, Some("client"));
        // What does not select it after all leaves it alone when that is told.
        tell(&thread.mesh, &[], &[selecting(EVERYBODY)]);
        assert_eq!(thread.left().await, (1, 0, 0));
        tell_without(EVERYBODY);
        // It was told of, and keeps what was attached to it then: nothing.
        assert_eq!(thread.left().await, (1, 0, 0));
        tell(&thread.mesh, &["shop/some"], &[selecting(EVERYBODY)]);
        assert_eq!(thread.left().await, (0, 0, 0));
    });
}
