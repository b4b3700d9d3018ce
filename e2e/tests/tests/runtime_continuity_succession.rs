//! One of the four processes of an upgrade dies while the next worker prepares to serve.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use anyhow::Context;
use e2e_tests::continuity::{Event, Long, New, Party, Scene};
use serde_json::json;

fn judge(what: &str, party: Party, long: Long) {
    let settings = serde_json::from_value(json!({"successionDeadline": "60s"})).unwrap();
    let scene = Scene::set(&settings, &[]).unwrap();
    let event = Event::DiedInSuccession(party);
    let series = scene.repeat(&format!("upgrade, {what} killed"), event);
    let series = series.unwrap();
    println!("{}", series.table());
    let verdict = series.verdict(New::All, long);
    verdict.with_context(|| scene.words()).unwrap();
    scene.lab.down().unwrap();
}

#[test]
fn the_former_holder_dies_and_the_next_one_serves() {
    judge("the former holder", Party::FormerHolder, Long::Kept);
}

#[test]
fn the_former_worker_dies_with_its_connections_and_the_next_one_serves() {
    judge("the former worker", Party::FormerWorker, Long::Reset);
}

#[test]
fn the_next_holder_dies_and_the_former_one_goes_on() {
    judge("the next holder", Party::NextHolder, Long::Kept);
}

#[test]
fn the_next_worker_dies_and_is_started_again() {
    judge("the next worker", Party::NextWorker, Long::Kept);
}
