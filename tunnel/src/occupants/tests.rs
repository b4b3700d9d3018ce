#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::cell::Cell;
use std::path::Path;

use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;
use tunnel_discovery::{MeshStore, parse_document};
use tunnel_model::{Identity, OriginalDst, Protocol, SourceAddr, Workload};
use tunnel_telemetry::WriterGuard;

use super::*;
use crate::testing::context;

const FRESH: &str = "10.0.0.9";

/// A thread whose client calls an address, and somebody who may be asked about it.
struct Bench {
    mesh: MeshStore,
    context: Rc<Context>,
    occupants: Occupants,
    answers: Rc<RefCell<Option<Occupant>>>,
    asked: Rc<Cell<usize>>,
    _writer: WriterGuard,
}

fn workload(name: &str, ip: &str) -> Workload {
    let identity = Identity::new("cluster.local", "shop", name).unwrap();
    let mut workload = Workload::new(name, name, identity, vec![ip.parse().unwrap()]);
    workload.protocol = Protocol::Hbone;
    workload
}

fn member() -> Occupant {
    Occupant::Member(Arc::new(workload("fresh", FRESH)))
}

fn nobody() -> Occupant {
    Occupant::Unknown {
        why: "it is away".into(),
    }
}

impl Bench {
    /// `None` is asked and does not answer.
    fn new(answer: Option<Occupant>) -> Self {
        let (occupants, mut questions) = Occupants::channel(PodRange::Private);
        let answers = Rc::new(RefCell::new(answer));
        let asked = Rc::new(Cell::new(0));
        let (told, counted) = (Rc::clone(&answers), Rc::clone(&asked));
        spawn_local(async move {
            let mut unanswered = Vec::new();
            while let Some(question) = questions.recv().await {
                counted.set(counted.get() + 1);
                match told.borrow().clone() {
                    Some(answer) => drop(question.reply.send(answer)),
                    None => unanswered.push(question),
                }
            }
        });
        let mesh = MeshStore::new();
        let sink = Box::new(std::io::sink());
        let (context, writer) = context(&mesh, Some(occupants.clone()), sink);
        Self {
            mesh,
            context,
            occupants,
            answers,
            asked,
            _writer: writer,
        }
    }

    fn answers(&self, answer: Option<Occupant>) {
        *self.answers.borrow_mut() = answer;
    }

    /// What is decided, in words, and after how many milliseconds.
    async fn calls(&self) -> (String, u128) {
        let mut facts = OutboundFacts {
            own: Arc::new(workload("client", "10.0.0.1")),
            source: SourceAddr::new("10.0.0.1:4000".parse().unwrap()),
            original_dst: OriginalDst::new(format!("{FRESH}:80").parse().unwrap()),
            network: "".into(),
            random: 0,
            pods: Some(Arc::clone(&self.occupants.range)),
            occupant: None,
        };
        let began = Instant::now();
        let verdict = decide(&self.context, &self.occupants, &mut facts).await;
        let words = match verdict {
            OutboundVerdict::Hbone(route) => format!("tunnel to {}", route.expected[0]),
            OutboundVerdict::Passthrough(route) => format!("clear to {}", route.next_hop),
            OutboundVerdict::Refuse(refusal) => refusal.to_string(),
            OutboundVerdict::Ask => panic!("nothing was decided"),
        };
        (words, began.elapsed().as_millis())
    }

    async fn calls_and_gets(&self, expected: &str) -> u128 {
        let (words, took) = self.calls().await;
        assert!(words.contains(expected), "{words}, not {expected}");
        took
    }
}

/// With time that passes only when nothing else is to be done.
fn on_a_thread(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test());
}

#[test]
fn a_stranger_is_asked_about_once_in_ten_seconds() {
    on_a_thread(async || {
        let bench = Bench::new(Some(Occupant::Outsider));
        for _ in 0..3 {
            assert_eq!(bench.calls_and_gets("clear to 10.0.0.9:80").await, 0);
        }
        assert_eq!(bench.asked.get(), 1);
        sleep(ANSWER).await;
        bench.answers(Some(member()));
        bench.calls_and_gets("tunnel to").await;
        assert_eq!(bench.asked.get(), 2);
    });
}

#[test]
fn while_the_control_plane_would_tell_of_a_pod_a_stranger_is_seldom_asked_about() {
    on_a_thread(async || {
        let bench = Bench::new(Some(Occupant::Outsider));
        bench.occupants.note_control_plane(true);
        for _ in 0..5 {
            bench.calls_and_gets("clear to 10.0.0.9:80").await;
            sleep(ANSWER).await;
        }
        assert_eq!(bench.asked.get(), 1);
        // An answer from before does not outlive the control plane's going away.
        bench.occupants.note_control_plane(false);
        bench.answers(Some(member()));
        bench.calls_and_gets("tunnel to").await;
        assert_eq!(bench.asked.get(), 2);
    });
}

#[test]
fn those_who_want_to_know_together_ask_once() {
    on_a_thread(async || {
        let bench = Bench::new(Some(Occupant::Outsider));
        let (one, other) = tokio::join!(bench.calls(), bench.calls());
        assert_eq!(one, other);
        assert_eq!(bench.asked.get(), 1);
    });
}

#[test]
fn a_member_is_left_to_the_control_plane_for_a_moment_and_then_reached_by_its_identity() {
    on_a_thread(async || {
        let bench = Bench::new(Some(member()));
        let expected = "tunnel to spiffe://cluster.local/ns/shop/sa/fresh";
        let took = bench.calls_and_gets(expected).await;
        assert!(took >= TELLING.as_millis(), "{took} ms");
        // Only the first ones wait.
        assert_eq!(bench.calls_and_gets(expected).await, 0);
        sleep(ANSWER).await;
        assert_eq!(bench.calls_and_gets(expected).await, 0);
        // Who cannot be asked any more changes nothing about it.
        bench.answers(Some(nobody()));
        sleep(ANSWER).await;
        bench.calls_and_gets(expected).await;
        // Its address is somebody else's.
        bench.answers(Some(Occupant::Outsider));
        sleep(ANSWER).await;
        bench.calls_and_gets("clear").await;
    });
}

#[test]
fn what_the_control_plane_tells_in_time_is_what_counts() {
    on_a_thread(async || {
        let bench = Bench::new(Some(member()));
        let tell = async {
            sleep(TELLING / 2).await;
            let text = format!(
                r#"{{"workloads": [{{"uid": "told", "name": "told", "namespace": "shop",
                "serviceAccount": "told", "trustDomain": "cluster.local", "protocol": "HBONE",
                "workloadIps": ["{FRESH}"], "status": "Healthy"}}], "services": [],
                "policies": []}}"#
            );
            bench
                .mesh
                .set_state(parse_document(&text, Path::new("mesh")).unwrap());
        };
        let (took, ()) = tokio::join!(bench.calls_and_gets("sa/told"), tell);
        assert!(took < TELLING.as_millis(), "{took} ms");
    });
}

#[test]
fn what_nobody_can_tell_is_held_and_then_refused_and_never_clear() {
    on_a_thread(async || {
        for answer in [Some(nobody()), None] {
            let bench = Bench::new(answer);
            let took = bench.calls_and_gets("nothing is sent there in clear").await;
            let patience = bench.context.settings.workload_wait;
            assert!(took >= patience.as_millis(), "{took} ms");
            assert!(
                took < (patience + PATIENCE + NO_ANSWER).as_millis(),
                "{took} ms"
            );
        }
        // Whoever could tell comes back in time.
        let bench = Bench::new(Some(nobody()));
        let back = async {
            sleep(NO_ANSWER * 2).await;
            bench.answers(Some(Occupant::Outsider));
        };
        tokio::join!(bench.calls_and_gets("clear to"), back);
    });
}
