#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod interop;
mod loopback;
mod resend;
mod wire;

use http::HeaderValue;

use super::ConnectHead;

fn head() -> ConnectHead<'static> {
    ConnectHead {
        authority: "[fd00::1]:8080".parse().unwrap(),
        baggage: None,
        client: "10.0.0.1:4000".parse().unwrap(),
        service: Some("echo.default.svc.cluster.local"),
        trace: 0xab,
        span: 0,
    }
}

#[test]
fn connect_carries_exactly_the_wire_format() {
    let baggage =
        HeaderValue::from_static("k8s.cluster.name=Kubernetes,k8s.namespace.name=default");
    let head = ConnectHead {
        baggage: Some(&baggage),
        ..head()
    };
    let read = wire::request(&head);
    let expected = [
        (":method", "CONNECT"),
        (":authority", "[fd00::1]:8080"),
        ("baggage", baggage.to_str().unwrap()),
        (
            "forwarded",
            "for=\"10.0.0.1:4000\";host=echo.default.svc.cluster.local",
        ),
        (
            "traceparent",
            "00-000000000000000000000000000000ab-0000000000000001-00",
        ),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(read, expected);
}

#[test]
fn a_name_that_cannot_stand_in_a_header_is_left_out() {
    let head = ConnectHead {
        service: Some("a.default\r\nx: y"),
        ..head()
    };
    let read = wire::request(&head);
    let forwarded = read.iter().find(|(name, _)| name == "forwarded");
    assert_eq!(forwarded.unwrap().1, "for=\"10.0.0.1:4000\"");
}
