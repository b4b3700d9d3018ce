#![allow(clippy::unwrap_used, reason = "tests")]
use super::{Figures, Long, New, Series};
use crate::continuity::{Blow, Report};
use serde_json::{Value, json};

const BLOW: Blow = Blow {
    from_ms: 5_000.0,
    to_ms: 5_001.0,
};

fn report(failures: &Value, broken: &Value) -> Report {
    let value = json!({
        "began_ms": 0.0, "ended_ms": 9_000.0, "made": 600, "failed": 1, "failures": failures,
        "longest_wait": {"ms": 80.0, "began_ms": 5_000.0}, "p50_ms": 1.0, "p99_ms": 2.0,
        "generator_late_ms": 10.0,
        "steady": {"made": 1, "messages": 9, "longest_wait": null, "broken": broken, "hanging": []},
    });
    serde_json::from_value(value).unwrap()
}

fn one(failures: &Value, broken: &Value, in_clear: usize) -> Series {
    let mut series = Series::new("case");
    series.add(Figures::new(&report(failures, broken), &[BLOW], in_clear));
    series
}

#[test]
fn only_what_was_inside_when_it_died_and_was_reset_at_once_is_forgiven() {
    for (step, error, began, ended, forgiven) in [
        ("exchange", "reset", 4_999.0, 5_002.0, true),
        ("close", "reset", 4_999.0, 5_002.0, true),
        // Told of the handshake and of the reset at once, or of the latter by what it did next.
        ("connect", "reset", 4_999.0, 5_002.0, true),
        (
            "close",
            "not connected (os error 107)",
            4_999.0,
            5_002.0,
            true,
        ),
        // Nobody listened.
        ("connect", "refused", 4_999.0, 5_002.0, false),
        // The end of a stream that is none.
        ("exchange", "end of stream", 4_999.0, 5_002.0, false),
        // It hung before it was reset.
        ("exchange", "reset", 4_999.0, 6_500.0, false),
        // It came later, or was over before.
        ("exchange", "reset", 5_002.0, 5_003.0, false),
        ("exchange", "reset", 4_000.0, 4_100.0, false),
    ] {
        let failure = json!([{"step": step, "error": error, "began_ms": began, "ended_ms": ended}]);
        let series = one(&failure, &json!([]), 0);
        let verdict = series.verdict(New::All, Long::Kept);
        assert_eq!(verdict.is_ok(), forgiven, "{failure}: {}", series.table());
    }
}

#[test]
fn long_lived_ones_are_reset_within_a_second_of_a_kill_or_not_at_all() {
    for (error, at, long, right) in [
        ("reset", 5_900.0, Long::Reset, true),
        ("reset", 6_100.0, Long::Reset, false),
        ("reset", 4_900.0, Long::Reset, false),
        ("end of stream", 5_100.0, Long::Reset, false),
        ("reset", 5_900.0, Long::Kept, false),
    ] {
        let broken = json!([{"number": 0, "silent": true, "error": error, "at_ms": at}]);
        let verdict = one(&json!([]), &broken, 0).verdict(New::All, long);
        assert_eq!(verdict.is_ok(), right, "{broken} {long:?}: {verdict:?}");
    }
    let none_broken = one(&json!([]), &json!([]), 0);
    none_broken.verdict(New::All, Long::Reset).unwrap_err();
}

#[test]
fn what_is_only_counted_is_still_refused_or_reset() {
    let verdict = |failures: &Value, broken: &Value| {
        one(failures, broken, 0).verdict(New::Counted, Long::Counted)
    };
    for (error, right) in [
        ("refused", true),
        ("reset", true),
        ("end of stream", false),
        ("time limit", false),
        ("wrong bytes", false),
    ] {
        let failure =
            json!([{"step": "exchange", "error": error, "began_ms": 7_000.0, "ended_ms": 7_001.0}]);
        assert_eq!(verdict(&failure, &json!([])).is_ok(), right, "{error}");
        let broken = json!([{"number": 0, "silent": false, "error": error, "at_ms": 7_000.0}]);
        assert_eq!(verdict(&json!([]), &broken).is_ok(), right, "{error}");
    }
}

#[test]
fn waits_and_clear_bytes_are_judged() {
    let judged = |limit, in_clear| {
        one(&json!([]), &json!([]), in_clear).verdict(New::AllWithin(limit), Long::Kept)
    };
    judged(80.0, 0).unwrap();
    // What the load itself was late is not the agent's.
    judged(70.0, 0).unwrap();
    judged(69.0, 0).unwrap_err();
    judged(80.0, 1).unwrap_err();
    Series::new("nothing")
        .verdict(New::All, Long::Kept)
        .unwrap_err();
}
