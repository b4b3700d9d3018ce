#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod loopback;
mod resend;

use http::{HeaderMap, HeaderValue};

use super::gather::{keep, settle};
use super::{Baggage, ConnectHead, connect_request};

#[test]
fn connect_carries_exactly_the_wire_format() {
    let baggage = "k8s.cluster.name=Kubernetes,k8s.namespace.name=default";
    let request = connect_request(&ConnectHead {
        authority: "[fd00::1]:8080".parse().unwrap(),
        baggage: Some(&HeaderValue::from_static(baggage)),
        client: "10.0.0.1:4000".parse().unwrap(),
        service: Some("echo.default.svc.cluster.local"),
        trace: 0xab,
        span: 0,
    })
    .unwrap();
    assert_eq!(request.method(), http::Method::CONNECT);
    assert_eq!(
        request.uri().authority().unwrap().as_str(),
        "[fd00::1]:8080"
    );
    assert_eq!(request.uri().scheme(), None);
    let headers = request.headers();
    assert_eq!(
        headers["forwarded"],
        "for=\"10.0.0.1:4000\";host=echo.default.svc.cluster.local"
    );
    assert_eq!(
        headers["traceparent"],
        "00-000000000000000000000000000000ab-0000000000000001-00"
    );
    assert_eq!(headers["baggage"], baggage);
}

#[test]
fn a_name_with_control_characters_is_an_error_not_a_header() {
    let head = ConnectHead {
        authority: "10.0.0.1:1".parse().unwrap(),
        baggage: None,
        client: "10.0.0.1:4000".parse().unwrap(),
        service: Some("a.default\r\nx: y"),
        trace: 1,
        span: 1,
    };
    assert!(connect_request(&head).is_err());
}

#[test]
fn small_pieces_are_kept_together_across_turns_and_in_order() {
    let (mut small, mut waiting) = (bytes::BytesMut::new(), std::collections::VecDeque::new());
    let mut sent = Vec::new();
    for n in 0..20_000_u32 {
        let size = if n == 15_000 { 5000 } else { 1 };
        let data = vec![u8::try_from(n % 251).unwrap(); size];
        sent.extend_from_slice(&data);
        keep(&mut small, &mut waiting, data.into());
        settle(&mut small, &mut waiting);
    }
    assert!(waiting.len() < 10, "{} records", waiting.len());
    let mut kept = waiting.into_iter().flatten().collect::<Vec<u8>>();
    kept.extend_from_slice(&small);
    assert!(kept == sent);
}

#[test]
fn baggage_is_read_leniently_and_the_last_member_counts() {
    let mut headers = HeaderMap::new();
    headers.append(
        "baggage",
        "k8s.namespace.name=a, service.name=x=y,junk,="
            .parse()
            .unwrap(),
    );
    headers.append(
        "baggage",
        "k8s.namespace.name=b,service.version=".parse().unwrap(),
    );
    let baggage = Baggage::parse(&headers);
    assert_eq!(baggage.namespace.as_deref(), Some("b"));
    assert_eq!(baggage.service.as_deref(), Some("x=y"));
    assert_eq!(baggage.version, None);
}
