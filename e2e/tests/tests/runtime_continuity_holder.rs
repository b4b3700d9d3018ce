//! The holder dies under load and is started again, with its worker alive or dead.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use e2e_tests::continuity::{Event, Long, New, Scene};
use serde_json::Map;
use std::time::Duration;

#[test]
fn nobody_notices_that_the_holder_died() {
    let scene = Scene::set(&Map::new(), &[]).unwrap();
    let workers = || ["a", "b"].map(|name| scene.node(name).unwrap().agent_pair().unwrap().worker);
    let before = workers();
    let series = scene.repeat("holder killed", Event::HolderKilled).unwrap();
    println!("{}", series.table());
    series.verdict(New::All, Long::Kept).unwrap();
    assert_eq!(workers(), before, "the same workers, with other holders");
    scene.lab.down().unwrap();
}

#[test]
fn nothing_is_in_clear_while_both_are_away() {
    let scene = Scene::set(&Map::new(), &[]).unwrap();
    let away = Duration::from_secs(2);
    let series = scene
        .repeat("both killed, away for 2 s", Event::AllKilled(away))
        .unwrap();
    println!("{}", series.table());
    series.verdict(New::Counted, Long::Reset).unwrap();
    scene.lab.down().unwrap();
}
