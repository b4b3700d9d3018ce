//! The worker dies under load, on either node.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use e2e_tests::continuity::{Event, Long, New, Scene, Series, Span};
use serde_json::Map;

/// The longest that a new connection may wait.
const WAIT_MS: f64 = 300.0;

#[test]
fn new_connections_wait_and_long_lived_ones_are_reset_at_once() {
    let scene = Scene::set(&Map::new(), &[]).unwrap();
    let quiet = scene.measure(Span::default(), || Ok(Vec::new())).unwrap();
    let limit = quiet.stretch(WAIT_MS);
    let mut undisturbed = Series::new("nothing done");
    undisturbed.add(quiet);
    println!("{}limit of a wait: {limit:.0} ms\n", undisturbed.table());
    undisturbed.verdict(New::All, Long::Kept).unwrap();
    let series = scene.repeat("worker killed", Event::WorkerKilled).unwrap();
    println!("{}", series.table());
    // Their TLS state died with the worker: a reset at once is all that can be done for them.
    series.verdict(New::AllWithin(limit), Long::Reset).unwrap();
    scene.lab.down().unwrap();
}
