//! An agent is replaced by another under load: beside it, in its place, by and from one of the protocol's version before.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use anyhow::Result;
use e2e_tests::continuity::{
    Blow, Event, Load, Long, MARKER, New, Scene, Series, Shape, Span, now_ms,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

fn settings(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_successor_beside_it_takes_over() {
    let scene = Scene::set(&settings(json!({"successionDeadline": "60s"})), &[]).unwrap();
    let series = scene
        .repeat("overlapping successor", Event::Succeeded)
        .unwrap();
    println!("{}", series.table());
    series.verdict(New::All, Long::Kept).unwrap();
    scene.lab.down().unwrap();
}

#[test]
fn one_in_its_place_takes_over() {
    let own =
        settings(json!({"drainDeadline": "60s", "successionDeadline": "60s", "linger": "30s"}));
    let scene = Scene::set(&own, &[]).unwrap();
    let series = scene.repeat("in place", Event::Replaced).unwrap();
    println!("{}", series.table());
    series.verdict(New::All, Long::Kept).unwrap();
    scene.lab.down().unwrap();
}

#[test]
fn the_version_before_takes_over_and_is_taken_over() {
    let own = settings(json!({"successionDeadline": "60s"}));
    let scene = Scene::set(&own, &[]).unwrap();
    let older = settings(json!({"holderProtocol": 1}));
    // From the newest to the one before on each node, then the other way round, and so on.
    let mut turn = 0;
    let name = "successor of another protocol version";
    let series = scene
        .repeat_with(name, |node| {
            let next = if turn / 2 % 2 == 0 { &older } else { &own };
            turn += 1;
            node.set_agent_settings(next)?;
            Event::Succeeded.befall(node)
        })
        .unwrap();
    println!("{}", series.table());
    series.verdict(New::All, Long::Kept).unwrap();
    scene.lab.down().unwrap();
}

/// Some load that is there for long.
fn span(after: u64) -> Span {
    let shape = Shape {
        rate: 50,
        ..Shape::default()
    };
    Span {
        shape,
        after: Duration::from_secs(after),
        ..Span::default()
    }
}

fn both_succeeded(scene: &Scene) -> Result<Vec<Blow>> {
    let mut nodes = scene.lab.nodes().iter();
    nodes.try_fold(Vec::new(), |mut blows, node| {
        blows.extend(Event::Succeeded.befall(node)?);
        Ok(blows)
    })
}

/// How the former agents ended, and how many connections each says that it cut.
fn former_end(scene: &Scene, marks: &[u64], patience: Duration) -> Vec<u64> {
    let nodes = scene.lab.nodes().iter().zip(marks);
    let cut = nodes.map(|(node, mark)| {
        let ended = node.wait_for_former(patience).unwrap();
        assert!(ended.len() == 1 && ended[0].success(), "{ended:?}");
        let log = node.agent_log_since(*mark).unwrap();
        let (_, told) = log.rsplit_once("connections_cut=").unwrap();
        let digits = told.split(|letter: char| !letter.is_ascii_digit()).next();
        digits.unwrap().parse().unwrap()
    });
    cut.collect()
}

fn marks(scene: &Scene) -> Vec<u64> {
    let nodes = scene.lab.nodes().iter();
    nodes.map(|node| node.agent_log_size().unwrap()).collect()
}

#[test]
fn a_connection_that_lives_on_is_served_to_its_end() {
    let scene = Scene::set(&settings(json!({"successionDeadline": "60s"})), &[]).unwrap();
    let marks = marks(&scene);
    let mut series =
        Series::new("connections that live on for 50 s after the upgrade of both nodes");
    series.add(scene.measure(span(50), || both_succeeded(&scene)).unwrap());
    println!("{}", series.table());
    series.verdict(New::All, Long::Kept).unwrap();
    // Pods that end meanwhile do not stay behind in the former agents.
    for (node, mark) in scene.lab.nodes().iter().zip(&marks) {
        let log = node.agent_log_since(*mark).unwrap();
        assert!(log.contains("let go of the pods"), "{log}");
    }
    // Their end is the former agents' end, long before the deadline.
    let cut = former_end(&scene, &marks, Duration::from_secs(5));
    assert_eq!(cut, [0, 0]);
    scene.whole().unwrap();
    scene.lab.down().unwrap();
}

#[test]
fn one_that_lives_on_for_too_long_is_reset_and_reported() {
    let scene = Scene::set(&settings(json!({"successionDeadline": "2s"})), &[]).unwrap();
    let marks = marks(&scene);
    let load = Load::start(
        &scene.client,
        scene.service().unwrap(),
        MARKER,
        span(0).shape,
    )
    .unwrap();
    let upgraded = now_ms().unwrap();
    both_succeeded(&scene).unwrap();
    let cut = former_end(&scene, &marks, Duration::from_secs(10));
    let report = load.stop().unwrap();
    println!("connections cut: {cut:?}; the load: {report:?}");
    // Whoever is first at the end cuts; the other sees its connections reset.
    assert!(cut.iter().sum::<u64>() >= report.steady.made, "{cut:?}");
    assert_eq!(report.failed, 0, "new ones: {:?}", report.failures.first());
    assert!(report.steady.hanging.is_empty());
    assert_eq!(report.steady.broken.len() as u64, report.steady.made);
    for one in &report.steady.broken {
        assert_eq!(one.error, "reset");
        assert!(one.at_ms > upgraded + 2_000.0, "before its time: {one:?}");
    }
    scene.whole().unwrap();
    scene.lab.down().unwrap();
}
