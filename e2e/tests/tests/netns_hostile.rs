//! Peers of port 15008 that are not who they should be, or ask for what they should not.
#![allow(clippy::unwrap_used, reason = "tests")]

use e2e_tests::app;
use e2e_tests::frames::{self, END_HEADERS, END_STREAM, kind, literal};
use e2e_tests::hostile::{Peer, authority, certificate};
use e2e_tests::mesh::Mesh;
use e2e_tests::pulse::Pulse;
use e2e_tests::siege::Siege;
use e2e_tests::world::spiffe;
use std::io::{Read, Write};
use std::time::Duration;
use tunnel_credentials::{LeafSpec, TestAuthority, TestCertificate};

/// Offers these credentials; the tunnel must be refused for this reason, and a friend must not notice.
fn refused_in_the_handshake(siege: &Siege, config: rustls::ClientConfig, why: &str) {
    let pulse = Pulse::start(&siege.friend, siege.server.at(8080)).unwrap();
    let mut peer = Peer::connect(&siege.evil, siege.server.at(15008), config).unwrap();
    peer.wait_for_end(Duration::from_secs(5)).unwrap();
    let from = format!("src.addr={}:", siege.evil.ipv4);
    let line = siege
        .agent
        .wait_for_log(&["connection failed", &from, "TLS handshake failed", why])
        .unwrap();
    assert!(line.contains("direction=\"inbound\""), "{line}");
    pulse.stop().unwrap();
    assert_eq!(siege.app.connections(), 1, "only the friend's");
}

/// Asks for something; the answer's status and the reason in the log.
fn answered(siege: &Siege, request: &[u8], status: u16, why: &str) {
    let mut peer = siege.good_peer().unwrap();
    peer.send(request).unwrap();
    assert_eq!(peer.status(1).unwrap(), status);
    siege
        .agent
        .wait_for_log(&["access", &siege.evil.ipv4.to_string(), why])
        .unwrap();
    // The tunnel itself is not at fault: what is asked for properly is given.
    assert_eq!(
        peer.open(3, &siege.server.at(8080).to_string()).unwrap(),
        200
    );
    // The application counts when it accepts, which may be after the tunnel's answer; an echo is not.
    peer.send(&frames::frame(kind::DATA, END_STREAM, 3, b"proper"))
        .unwrap();
    peer.wait_for("the echo", |frame| frame.payload == b"proper")
        .unwrap();
    assert_eq!(siege.app.connections(), 1, "only the proper request");
}

#[test]
fn a_proper_peer_is_served() {
    // Or else all that follows would pass for the wrong reason.
    let siege = Siege::lay().unwrap();
    let mut peer = siege.good_peer().unwrap();
    assert_eq!(
        peer.open(1, &siege.server.at(8080).to_string()).unwrap(),
        200
    );
    peer.send(&frames::frame(kind::DATA, END_STREAM, 1, b"hello"))
        .unwrap();
    peer.wait_for("the echo", |frame| frame.payload == b"hello")
        .unwrap();
}

#[test]
fn no_certificate() {
    let siege = Siege::lay().unwrap();
    refused_in_the_handshake(
        &siege,
        TestCertificate::anonymous_client(),
        "no certificate",
    );
}

#[test]
fn an_expired_certificate() {
    let siege = Siege::lay().unwrap();
    let spec = LeafSpec::named(&siege.evil.spiffe()).expired();
    let expired = authority(&siege.world).issue(&spec);
    refused_in_the_handshake(&siege, expired.client(), "expired");
}

#[test]
fn a_certificate_of_another_authority() {
    let siege = Siege::lay().unwrap();
    let foreign = TestAuthority::new("evil").issue(&LeafSpec::named(&siege.evil.spiffe()));
    refused_in_the_handshake(&siege, foreign.client(), "UnknownIssuer");
}

#[test]
fn a_certificate_of_another_trust_domain() {
    let siege = Siege::lay().unwrap();
    let name = siege.evil.spiffe().replace("cluster.local", "evil.example");
    let config = certificate(&siege.world, &name).client();
    refused_in_the_handshake(&siege, config, "evil.example");
}

#[test]
fn a_certificate_without_an_identity() {
    let siege = Siege::lay().unwrap();
    let config = certificate(&siege.world, "https://example.com/").client();
    refused_in_the_handshake(&siege, config, "identity");
}

#[test]
fn the_identity_of_another_than_the_owner_of_the_address() {
    let siege = Siege::lay().unwrap();
    let config = certificate(&siege.world, &siege.friend.spiffe()).client();
    let mut peer = Peer::greeted(&siege.evil, siege.server.at(15008), config).unwrap();
    assert_eq!(
        peer.open(1, &siege.server.at(8080).to_string()).unwrap(),
        401
    );
    let why = format!(
        "identity mismatch: {} belongs to {}, the peer is {}",
        siege.evil.ipv4,
        siege.evil.spiffe(),
        spiffe(Mesh::NAMESPACE, "friend")
    );
    siege
        .agent
        .wait_for_log(&["connection complete", &why, "identity check"])
        .unwrap();
    assert_eq!(siege.app.connections(), 0);
}

#[test]
fn a_stream_to_an_address_that_is_not_this_pods() {
    let siege = Siege::lay().unwrap();
    let why = format!(
        "ip mismatch: {} != {}",
        siege.server.ipv4, siege.friend.ipv4
    );
    let elsewhere = siege.friend.at(8080).to_string();
    answered(&siege, &frames::connect(1, &elsewhere), 400, &why);
}

#[test]
fn a_stream_to_the_pods_own_loopback() {
    let siege = Siege::lay().unwrap();
    let why = format!("ip mismatch: {} != 127.0.0.1", siege.server.ipv4);
    answered(&siege, &frames::connect(1, "127.0.0.1:8080"), 400, &why);
}

#[test]
fn an_authority_without_a_port() {
    let siege = Siege::lay().unwrap();
    answered(
        &siege,
        &frames::connect(1, &siege.server.ipv4.to_string()),
        400,
        "invalid authority",
    );
}

#[test]
fn an_authority_that_is_none() {
    let siege = Siege::lay().unwrap();
    // Refused by the protocol already: the stream is reset instead of answered.
    let mut peer = siege.good_peer().unwrap();
    peer.send(&frames::connect(1, "not an authority")).unwrap();
    let reset = peer
        .wait_for("the end of the stream", |frame| {
            frame.kind == kind::RST_STREAM || frame.status() == Some(400)
        })
        .unwrap();
    assert_eq!(reset.stream, 1);
    assert_eq!(
        peer.open(3, &siege.server.at(8080).to_string()).unwrap(),
        200
    );
}

#[test]
fn an_authority_with_control_characters_does_not_reach_the_log_as_such() {
    let siege = Siege::lay().unwrap();
    let mut peer = siege.good_peer().unwrap();
    peer.send(&frames::connect(1, "10.0.0.1:80\nforged line\u{1b}[2J"))
        .unwrap();
    peer.wait_for("the end of the stream", |frame| {
        frame.stream == 1 && matches!(frame.kind, kind::RST_STREAM | kind::HEADERS)
    })
    .unwrap();
    assert_eq!(
        peer.open(3, &siege.server.at(8080).to_string()).unwrap(),
        200
    );
    drop(peer);
    let log = siege.agent.log();
    assert!(
        !log.lines().any(|line| line.starts_with("forged line")),
        "{log}"
    );
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[test]
fn another_method_than_connect() {
    let siege = Siege::lay().unwrap();
    let mut block = literal(":method", "GET");
    block.extend(literal(":scheme", "https"));
    block.extend(literal(":authority", &siege.server.at(8080).to_string()));
    block.extend(literal(":path", "/"));
    let request = frames::frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block);
    answered(&siege, &request, 400, "GET is not CONNECT");
}

#[test]
fn streams_to_the_tunnels_own_ports() {
    let siege = Siege::lay().unwrap();
    for port in [15001, 15006, 15008] {
        let mut peer = siege.good_peer().unwrap();
        let to = siege.server.at(port).to_string();
        assert_eq!(peer.open(1, &to).unwrap(), 503, "{port}");
        let why = format!("recursive call to self: {to}");
        siege
            .agent
            .wait_for_log(&["access", &why, "loop protection"])
            .unwrap();
    }
    assert_eq!(siege.app.connections(), 0);
}

#[test]
fn plaintext_on_the_tunnels_port() {
    let siege = Siege::lay().unwrap();
    let mut stream = app::connect(&siege.evil, siege.server.at(15008)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // The end may come as a reset, as not all of ours was read.
    stream.read_to_end(&mut answer).ok();
    assert!(
        answer.is_empty() || answer[0] == 0x15,
        "not a TLS alert: {answer:?}"
    );
    siege
        .agent
        .wait_for_log(&[
            "connection failed",
            "TLS handshake failed",
            "corrupt message",
        ])
        .unwrap();
}
