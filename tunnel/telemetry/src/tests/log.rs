#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use tunnel_model::ResponseFlag;

const AFTER: Duration = Duration::from_millis(12);

/// The one line in the log, without its time.
fn only_line(text: &str) -> &str {
    let line = text.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "more than one line: {text}");
    let (time, rest) = line.split_once('\t').unwrap();
    assert_eq!(time.len(), "2026-01-01T00:00:00.000000Z".len());
    rest
}

#[test]
fn a_complete_outbound_connection() {
    let rig = Rig::plain();
    let now = Instant::now();
    let connection = rig.telemetry.connection(&start(Direction::Outbound, now));
    connection.add_received(5);
    connection.add_sent(1000);
    connection.finish(now + AFTER, &Outcome::Done);
    assert_eq!(
        only_line(&rig.text()),
        "info\taccess\tconnection complete\t\
         src.addr=10.0.0.1:40000 src.workload=\"client-1\" src.namespace=\"apps\" \
         src.identity=\"spiffe://cluster.local/ns/apps/sa/client\" src.cluster=\"Kubernetes\" \
         dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:80 \
         dst.service=\"server.apps.svc.cluster.local\" dst.workload=\"server-1\" \
         dst.namespace=\"apps\" dst.identity=\"spiffe://cluster.local/ns/apps/sa/server\" \
         dst.cluster=\"Kubernetes\" direction=\"outbound\" \
         bytes_sent=5 bytes_recv=1000 duration=\"12ms\""
    );
}

#[test]
fn the_server_side_sees_the_same_bytes_the_other_way_round() {
    let rig = Rig::plain();
    let now = Instant::now();
    let connection = rig.telemetry.connection(&start(Direction::Inbound, now));
    connection.add_received(5);
    connection.add_sent(1000);
    connection.finish(now, &Outcome::Done);
    let text = rig.text();
    assert!(
        text.contains("direction=\"inbound\" bytes_sent=1000 bytes_recv=5"),
        "{text}"
    );
}

#[test]
fn identities_are_logged_only_when_proven() {
    let rig = Rig::plain();
    let now = Instant::now();
    let mut open = start(Direction::Outbound, now);
    open.security = Security::Unknown;
    open.source_identity = None;
    open.destination_identity = None;
    open.hbone_target = None;
    rig.telemetry.connection(&open).finish(now, &Outcome::Done);
    let text = rig.text();
    assert!(!text.contains("identity"), "{text}");
    assert!(!text.contains("hbone_addr"), "{text}");
}

#[test]
fn a_refusal_says_why_and_who() {
    let rig = Rig::plain();
    let now = Instant::now();
    let outcome = Outcome::Refused {
        flag: ResponseFlag::Deny,
        error: "connection closed due to policy rejection: explicitly denied by: apps/no".into(),
        decided_by: "policy apps/no".into(),
    };
    rig.telemetry
        .connection(&start(Direction::Inbound, now))
        .finish(now, &outcome);
    let text = rig.text();
    assert!(
        only_line(&text).starts_with("error\taccess\tconnection complete\t"),
        "{text}"
    );
    let end = "error=\"connection closed due to policy rejection: explicitly denied by: apps/no\" \
               decided_by=\"policy apps/no\"\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn a_dropped_connection_still_gets_its_line() {
    let rig = Rig::plain();
    drop(
        rig.telemetry
            .connection(&start(Direction::Inbound, Instant::now())),
    );
    let text = rig.text();
    assert!(
        only_line(&text).starts_with("error\taccess\tconnection complete"),
        "{text}"
    );
    assert!(text.contains("error=\"connection drain:"), "{text}");
}

#[test]
fn an_early_refusal_cannot_forge_a_line() {
    let rig = Rig::plain();
    let error = "bad authority \"x\"\n2026-01-01T00:00:00Z\tinfo\taccess\tconnection complete";
    let refusal = EarlyRefusal {
        reason: "authority",
        error: &error,
        decided_by: "",
    };
    let (source, destination) = (
        "[2001:db8::1]:9".parse().unwrap(),
        "1.2.3.4:5".parse().unwrap(),
    );
    rig.telemetry
        .early_refusal(Direction::Inbound, source, destination, &refusal);
    assert_eq!(
        only_line(&rig.text()),
        "warn\taccess\tconnection failed\tsrc.addr=[2001:db8::1]:9 dst.addr=1.2.3.4:5 \
         direction=\"inbound\" error=\"bad authority \\\"x\\\"\\n2026-01-01T00:00:00Z\\tinfo\\t\
         access\\tconnection complete\""
    );
}

#[test]
fn json_lines_are_json_and_carry_the_same_fields() {
    let rig = Rig::json();
    let now = Instant::now();
    let outcome = Outcome::Failed {
        flag: ResponseFlag::Connect,
        error: "a \"b\"\u{7}".into(),
    };
    rig.telemetry
        .connection(&start(Direction::Outbound, now))
        .finish(now + AFTER, &outcome);
    let value: serde_json::Value = serde_json::from_str(&rig.text()).unwrap();
    for (key, expected) in [
        ("level", "error"),
        ("scope", "access"),
        ("message", "connection complete"),
        ("src.addr", "10.0.0.1:40000"),
        ("src.workload", "client-1"),
        ("dst.hbone_addr", "10.0.0.2:80"),
        ("dst.identity", "spiffe://cluster.local/ns/apps/sa/server"),
        ("duration", "12ms"),
        ("error", "a \"b\"\u{7}"),
    ] {
        assert_eq!(value[key], expected, "{key}");
    }
    assert_eq!(value["bytes_sent"], 0);
}

#[test]
fn levels_choose_which_lines_are_written() {
    for (level, expected) in [("debug", 2), ("info", 1), ("error", 0), ("off", 0)] {
        let rig = Rig::plain();
        rig.telemetry.set_access_level(level.parse().unwrap());
        let now = Instant::now();
        rig.telemetry
            .connection(&start(Direction::Outbound, now))
            .finish(now, &Outcome::Done);
        assert_eq!(rig.text().lines().count(), expected, "{level}");
    }
}
