#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use tracing_subscriber::layer::SubscriberExt;

fn logged(rig: &Rig, what: impl FnOnce()) -> String {
    let subscriber = tracing_subscriber::registry().with(rig.telemetry.event_layer());
    tracing::subscriber::with_default(subscriber, what);
    rig.text()
}

fn some_events() {
    let span =
        tracing::info_span!("admit", pod = "a/b", uid = %"u\n1", late = tracing::field::Empty);
    span.record("late", 7);
    let _entered = span.enter();
    tracing::warn!(target: "agent", count = 3, name = "x y", why = ?Some("q"), ok = true, "went\nwrong");
}

#[test]
fn plain_events_look_like_access_lines() {
    let rig = Rig::plain();
    let text = logged(&rig, some_events);
    let (_, rest) = text.split_once('\t').unwrap();
    assert_eq!(
        rest,
        "warn\tagent:admit{pod=\"a/b\" uid=u\\n1 late=7}\twent\\nwrong\tcount=3 name=\"x y\" \
         why=Some(\"q\") ok=true\n"
    );
}

#[test]
fn json_events_flatten_fields_and_nest_spans() {
    let rig = Rig::json();
    let value: serde_json::Value = serde_json::from_str(&logged(&rig, some_events)).unwrap();
    assert_eq!(value["level"], "warn");
    assert_eq!(value["scope"], "agent");
    assert_eq!(value["message"], "went\nwrong");
    assert_eq!(value["count"], 3);
    assert_eq!(value["ok"], true);
    assert_eq!(value["why"], "Some(\"q\")");
    assert_eq!(value["admit"]["uid"], "u\n1");
    assert_eq!(value["admit"]["late"], 7);
}

#[test]
fn an_event_without_fields_or_message_is_still_one_line() {
    let rig = Rig::plain();
    let text = logged(&rig, || {
        tracing::info!(target: "t", "only words");
        tracing::info!(target: "t", only = "fields");
    });
    let rest: Vec<_> = text
        .lines()
        .map(|line| line.split_once('\t').unwrap().1)
        .collect();
    assert_eq!(rest, ["info\tt\tonly words", "info\tt\t\tonly=\"fields\""]);
}
