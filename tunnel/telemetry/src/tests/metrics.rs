#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use tunnel_model::ResponseFlag;

fn deny() -> Outcome {
    Outcome::Refused {
        flag: ResponseFlag::Deny,
        error: "no".to_owned(),
        decided_by: "policy".to_owned(),
    }
}

/// The samples of a family as (labels, value).
fn samples<'a>(text: &'a str, name: &str) -> Vec<(&'a str, f64)> {
    text.lines()
        .filter_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix('{')?
                .rsplit_once("} ")
        })
        .map(|(labels, value)| (labels, value.parse().unwrap()))
        .collect()
}

#[test]
fn labels_have_upstreams_names_and_order() {
    let rig = Rig::plain();
    let now = Instant::now();
    let _connection = rig.telemetry.connection(&start(Direction::Outbound, now));
    let text = rig.telemetry.encode_metrics();
    let expected = "istio_tcp_connections_opened_total{reporter=\"source\",\
        source_workload=\"client-1-deployment\",source_canonical_service=\"client-1-app\",\
        source_canonical_revision=\"v1\",source_workload_namespace=\"apps\",\
        source_principal=\"spiffe://cluster.local/ns/apps/sa/client\",\
        source_app=\"client-1-app\",source_version=\"v1\",source_cluster=\"Kubernetes\",\
        destination_service=\"server.apps.svc.cluster.local\",\
        destination_service_namespace=\"apps\",destination_service_name=\"server\",\
        destination_workload=\"server-1-deployment\",\
        destination_canonical_service=\"server-1-app\",destination_canonical_revision=\"v1\",\
        destination_workload_namespace=\"apps\",\
        destination_principal=\"spiffe://cluster.local/ns/apps/sa/server\",\
        destination_app=\"server-1-app\",destination_version=\"v1\",\
        destination_cluster=\"Kubernetes\",request_protocol=\"tcp\",response_flags=\"-\",\
        connection_security_policy=\"mutual_tls\",source_region=\"unknown\",\
        source_zone=\"unknown\",destination_region=\"unknown\",destination_zone=\"unknown\"} 1";
    assert!(text.lines().any(|line| line == expected), "{text}");
}

#[test]
fn unknown_parties_are_unknown() {
    let rig = Rig::plain();
    let mut open = start(Direction::Inbound, Instant::now());
    open.parties = Parties::default();
    open.source_identity = None;
    open.destination_identity = None;
    open.security = Security::Unknown;
    let _connection = rig.telemetry.connection(&open);
    let text = rig.telemetry.encode_metrics();
    let (labels, _) = samples(&text, "istio_tcp_connections_opened_total")[0];
    for label in labels.split(',') {
        let (name, value) = label.split_once('=').unwrap();
        let expected = match name {
            "reporter" => "\"destination\"",
            "request_protocol" => "\"tcp\"",
            "response_flags" => "\"-\"",
            _ => "\"unknown\"",
        };
        assert_eq!(value, expected, "{name}");
    }
}

#[test]
fn a_denied_connection_counts_three_times() {
    let rig = Rig::plain();
    let now = Instant::now();
    rig.telemetry
        .connection(&start(Direction::Inbound, now))
        .finish(now, &deny());
    let text = rig.telemetry.encode_metrics();
    for (family, flag) in [
        ("istio_tcp_connections_opened_total", "-"),
        ("istio_tcp_connections_closed_total", "DENY"),
        ("istio_tcp_connections_failed_total", "DENY"),
    ] {
        let found = samples(&text, family);
        assert_eq!(found.len(), 1, "{family}");
        assert!(
            found[0].0.contains(&format!("response_flags=\"{flag}\"")),
            "{family}"
        );
        assert!((found[0].1 - 1.0).abs() < f64::EPSILON);
    }
}

#[test]
fn an_aborted_connection_is_closed_without_a_flag() {
    let rig = Rig::plain();
    let connection = rig
        .telemetry
        .connection(&start(Direction::Inbound, Instant::now()));
    connection.add_sent(3);
    let open = "istio_tcp_sockets_open{reporter=\"destination\"} 1";
    assert!(rig.telemetry.encode_metrics().contains(open));
    drop(connection);
    let text = rig.telemetry.encode_metrics();
    assert!(text.contains("istio_tcp_sockets_open{reporter=\"destination\"} 0"));
    assert!(samples(&text, "istio_tcp_connections_failed_total").is_empty());
    let closed = samples(&text, "istio_tcp_connections_closed_total");
    assert!(closed[0].0.contains("response_flags=\"-\""));
    assert_eq!(
        samples(&text, "istio_tcp_sent_bytes_total")[0]
            .1
            .to_string(),
        "3"
    );
}

#[test]
fn pods_of_one_deployment_share_a_series_but_not_a_line() {
    let rig = Rig::plain();
    let now = Instant::now();
    for name in ["client-1", "client-2"] {
        let mut pod = named_workload("client-1", "client");
        pod.name = name.into();
        let mut open = start(Direction::Outbound, now);
        open.parties.source = Some(Arc::new(pod));
        rig.telemetry.connection(&open).finish(now, &Outcome::Done);
    }
    let text = rig.telemetry.encode_metrics();
    let opened = samples(&text, "istio_tcp_connections_opened_total");
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0].1.to_string(), "2");
    let log = rig.text();
    assert!(log.contains("src.workload=\"client-1\"") && log.contains("src.workload=\"client-2\""));
}

#[test]
fn idle_series_are_scraped_once_more_and_then_forgotten() {
    let series = SeriesBounds {
        idle: Duration::ZERO,
        ..SeriesBounds::default()
    };
    let rig = Rig::new(TelemetrySettings {
        series,
        ..TelemetrySettings::default()
    });
    let now = Instant::now();
    let live = rig.telemetry.connection(&start(Direction::Outbound, now));
    rig.telemetry
        .connection(&start(Direction::Inbound, now))
        .finish(now, &Outcome::Done);
    let count = |rig: &Rig| {
        samples(
            &rig.telemetry.encode_metrics(),
            "istio_tcp_connections_opened_total",
        )
        .len()
    };
    assert_eq!(count(&rig), 2);
    assert_eq!(count(&rig), 1, "the idle one is gone, the live one stays");
    live.finish(now, &Outcome::Done);
    assert_eq!(count(&rig), 1);
    assert_eq!(count(&rig), 0);
}

#[test]
fn past_the_bound_new_label_sets_share_one_series() {
    let series = SeriesBounds {
        series: 4,
        ..SeriesBounds::default()
    };
    let rig = Rig::new(TelemetrySettings {
        series,
        ..TelemetrySettings::default()
    });
    let now = Instant::now();
    for number in 0..50 {
        let mut open = start(Direction::Outbound, now);
        open.parties.source = Some(workload(&format!("client-{number}"), "client"));
        rig.telemetry.connection(&open).finish(now, &Outcome::Done);
    }
    let text = rig.telemetry.encode_metrics();
    let opened = samples(&text, "istio_tcp_connections_opened_total");
    assert_eq!(opened.len(), 5);
    assert_eq!(
        opened
            .iter()
            .map(|(_, value)| value)
            .sum::<f64>()
            .to_string(),
        "50"
    );
    assert!(
        text.contains("ambient_metric_series_overflow_total 46\n"),
        "{text}"
    );
}

#[test]
fn every_family_outside_the_stable_list_says_unstable() {
    const STABLE: [&str; 13] = [
        "istio_build",
        "istio_tcp_connections_opened",
        "istio_tcp_connections_closed",
        "istio_tcp_received_bytes",
        "istio_tcp_sent_bytes",
        "process_open_fds",
        "process_max_fds",
        "tokio_num_workers",
        "tokio_global_queue_depth",
        "tokio_num_alive_tasks",
        "tokio_worker_total_busy_duration_seconds",
        "tokio_worker_park_count",
        "tokio_worker_park_unpark_count",
    ];
    let rig = Rig::plain();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    rig.telemetry.watch_runtime(runtime.handle().clone());
    let now = Instant::now();
    rig.telemetry
        .connection(&start(Direction::Inbound, now))
        .finish(now, &deny());
    let refusal = EarlyRefusal {
        reason: "tls",
        error: &"x",
        decided_by: "",
    };
    let address = "1.2.3.4:5".parse().unwrap();
    rig.telemetry
        .early_refusal(Direction::Inbound, address, address, &refusal);
    rig.telemetry
        .counter("ambient_test", "Something")
        .increment();
    rig.telemetry.gauge("ambient_level", "Something").set(-2);
    let text = rig.telemetry.encode_metrics();
    let mut seen = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = line.split_once(' ').unwrap();
        assert_eq!(!STABLE.contains(&name), help.contains("unstable"), "{line}");
        seen.push(name);
    }
    for name in STABLE {
        assert!(seen.contains(&name), "{name} is missing");
    }
    let early = "ambient_early_refusals_total{reporter=\"destination\",reason=\"tls\"} 1\n";
    assert!(text.contains(early), "{text}");
    assert!(text.contains("ambient_test_total 1\n") && text.contains("ambient_level -2\n"));
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn a_name_has_one_handle() {
    let rig = Rig::plain();
    rig.telemetry
        .counter("ambient_twice", "Something")
        .increment();
    rig.telemetry
        .counter("ambient_twice", "Something")
        .increment();
    let text = rig.telemetry.encode_metrics();
    assert_eq!(text.matches("ambient_twice_total").count(), 1);
    assert!(text.contains("ambient_twice_total 2\n"), "{text}");
}

#[test]
fn many_threads_count_exactly() {
    let rig = Rig::plain();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let now = Instant::now();
                let open = start(Direction::Outbound, now);
                for _ in 0..500 {
                    let connection = rig.telemetry.connection(&open);
                    connection.add_sent(2);
                    connection.finish(now, &Outcome::Done);
                }
            });
        }
    });
    let text = rig.telemetry.encode_metrics();
    assert_eq!(
        samples(&text, "istio_tcp_connections_closed_total")[0]
            .1
            .to_string(),
        "2000"
    );
    assert_eq!(
        samples(&text, "istio_tcp_sent_bytes_total")[0]
            .1
            .to_string(),
        "4000"
    );
    assert_eq!(rig.text().lines().count(), 2000);
    assert!(
        rig.kept.writes() < 1000,
        "lines were not batched: {} writes",
        rig.kept.writes()
    );
}

#[test]
fn a_family_with_a_label_has_one_header() {
    let rig = Rig::plain();
    let of = |value| {
        rig.telemetry
            .counter_of("ambient_labelled", "Something", ("kind", value))
    };
    of("a").add(2);
    rig.telemetry
        .gauge("ambient_between", "Something else")
        .set(1);
    of("b").increment();
    of("a").increment();
    let text = rig.telemetry.encode_metrics();
    let family = "# HELP ambient_labelled Something (unstable).\n\
                  # TYPE ambient_labelled counter\n\
                  ambient_labelled_total{kind=\"a\"} 3\n\
                  ambient_labelled_total{kind=\"b\"} 1\n";
    assert!(text.contains(family), "{text}");
}
