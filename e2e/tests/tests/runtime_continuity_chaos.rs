//! Random kills of all parts at both nodes, pods that come and go, and load: what must hold at all times, and at the end.
//!
//! `AMBIENT_CHAOS_SECONDS` says for how long (60), `AMBIENT_CHAOS_SEED` repeats the deeds of a run.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use anyhow::{Context, Result, ensure};
use e2e_tests::continuity::{
    Chaos, Deeds, Descriptors, Dice, Figures, Load, Long, MARKER, New, Over, Scene, Series, Shape,
    Tenant, echo,
};
use e2e_tests::{PATIENCE, until};
use serde_json::json;
use std::sync::atomic::AtomicBool;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Load in one piece.
const ROUND: Duration = Duration::from_secs(8);
/// No load is made for less than this.
const SHORT: Duration = Duration::from_secs(3);
const TENANTS: [&str; 2] = ["tenant-a", "tenant-b"];
/// Sockets that a worker may keep ready for its pods.
const READY: usize = 200;

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .with_context(|| format!("{name}={text}"))
            .unwrap(),
    )
}

/// One piece of load; none if its long-lived connections were killed before they were all there, or there is no time left.
fn round(scene: &Scene, deeds: &Deeds, over: Instant) -> Result<Option<Figures>> {
    until("somebody is served", || {
        echo(&scene.client, scene.service()?)
    })?;
    let left = over.saturating_duration_since(Instant::now());
    if left < SHORT {
        return Ok(None);
    }
    let capture = scene.lab.capture("b")?;
    let shape = Shape {
        lasting: ROUND,
        ..Shape::default()
    };
    let load = Load::start(&scene.client, scene.service()?, MARKER, shape);
    let report = load.and_then(|load| {
        thread::sleep(ROUND.min(left));
        load.stop()
    });
    let in_clear = capture.stop()?.occurrences(MARKER.as_bytes());
    ensure!(in_clear == 0, "{in_clear} times in clear");
    Ok(report
        .ok()
        .map(|report| Figures::new(&report, &deeds.blows(), in_clear)))
}

#[test]
fn nothing_is_in_clear_hangs_or_leaks_whatever_dies() {
    let lasting = Duration::from_secs(from_env("AMBIENT_CHAOS_SECONDS").unwrap_or(60));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = from_env("AMBIENT_CHAOS_SEED").unwrap_or(u64::from(now.subsec_nanos()));
    println!("chaos for {lasting:?}, AMBIENT_CHAOS_SEED={seed}");
    let settings =
        json!({"drainDeadline": "5s", "successionDeadline": "5s", "workerDeadline": "1s"});
    let settings = serde_json::from_value(settings).unwrap();
    let scene = Scene::set(&settings, &TENANTS.map(Tenant::spec)).unwrap();
    let deeds = Deeds::default();
    let mut series = Series::new("chaos, by rounds of load");
    // A first round without chaos, so that what is only made once has been made.
    let soon = Instant::now() + SHORT + SHORT;
    series.add(round(&scene, &deeds, soon).unwrap().unwrap());
    let before = descriptors(&scene);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end_of_scope = Over(&over);
        let mut threads = Vec::new();
        for ((place, node), name) in (0_u8..).zip(scene.lab.nodes()).zip(TENANTS) {
            let chaos = Chaos {
                node,
                deeds: &deeds,
                over: &over,
            };
            let network = Tenant::network(&scene.lab, node, 97 + place).unwrap();
            let dice = [0, 1].map(|stream| Dice::new(seed, 2 * u64::from(place) + stream));
            let [harm, pods] = dice;
            let lab = &scene.lab;
            threads.push(scope.spawn(move || chaos.harm(harm)));
            threads
                .push(scope.spawn(move || chaos.let_pods_come_and_go(lab, &network, name, pods)));
        }
        let end = Instant::now() + lasting;
        let mut lost = 0;
        let goes_on = |threads: &[ScopedJoinHandle<'_, _>]| {
            Instant::now() + SHORT < end && !threads.iter().any(ScopedJoinHandle::is_finished)
        };
        while goes_on(&threads) {
            match round(&scene, &deeds, end).unwrap() {
                Some(figures) => series.add(figures),
                None => lost += 1,
            }
        }
        drop(end_of_scope);
        for one in threads {
            one.join().unwrap().unwrap();
        }
        println!("{}\n{lost} rounds could not begin", deeds.text());
    });
    println!("{}", series.table());
    series.verdict(New::Counted, Long::Counted).unwrap();
    scene.whole().unwrap();
    nothing_is_left(&scene, &before);
    scene.lab.down().unwrap();
}

fn descriptors(scene: &Scene) -> Vec<Descriptors> {
    let nodes = scene.lab.nodes().iter();
    nodes.map(|node| Descriptors::of(node).unwrap()).collect()
}

fn nothing_is_left(scene: &Scene, before: &[Descriptors]) {
    for (node, before) in scene.lab.nodes().iter().zip(before) {
        node.wait_for_former(PATIENCE).unwrap();
        let mut ours = scene.sandboxes(node.name());
        ours.sort_unstable();
        until(&format!("pods and descriptors on {}", node.name()), || {
            let dump = node.agent_dump()?;
            let pods = dump["pods"].as_array().context("no pods in the dump")?;
            let mut known: Vec<_> = pods
                .iter()
                .filter_map(|pod| pod["containerId"].as_str())
                .collect();
            known.sort_unstable();
            ensure!(known == ours, "{pods:?}, not {ours:?}");
            Descriptors::of(node)?.no_more_than(before, READY)
        })
        .unwrap();
        let after = Descriptors::of(node).unwrap();
        println!("{}: {after:?}, before {before:?}", node.name());
    }
}
