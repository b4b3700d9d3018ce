//! Sessions that are resumed, with rustls and with ourselves.

use rustls::{AlertDescription, HandshakeKind};

use super::super::HANDSHAKE;
use super::*;

/// A certificate whose sessions no other test takes.
fn own_certificate() -> Certificate {
    let name = Identity::new("cluster.local", "default", "resumed").unwrap();
    TestAuthority::new("test").certificate(&name)
}

fn meet_their_server(certificate: &Certificate) -> (Us, Peer) {
    let (near, far) = Wire::pair(WIDE);
    let conn = ServerConnection::new(Arc::clone(&certificate.server)).unwrap();
    let mut peer = Peer::new(conn.into(), far);
    let config = Arc::clone(&certificate.client);
    let ours = connect(near, [127, 0, 0, 1].into(), config, PATIENCE);
    let (io, shown) = shake(ours, || peer.turn().unwrap()).unwrap();
    assert_eq!(shown.unjudged, certificate.chain());
    let kind = peer.conn.handshake_kind();
    assert_eq!(shown.resumed, kind == Some(HandshakeKind::Resumed));
    let mut us = Us::new(io);
    us.say(b"hello");
    peer.turn().unwrap();
    assert_eq!(peer.take(), b"hello");
    (us, peer)
}

#[test]
fn our_client_keeps_what_a_server_gives_and_resumes() {
    let certificate = own_certificate();
    let (mut us, peer) = meet_their_server(&certificate);
    assert_eq!(peer.conn.handshake_kind(), Some(HandshakeKind::Full));
    assert_eq!(us.hear().unwrap(), b"");
    for _ in 0..3 {
        let (mut us, mut peer) = meet_their_server(&certificate);
        assert_eq!(peer.conn.handshake_kind(), Some(HandshakeKind::Resumed));
        peer.say(b"and data");
        assert_eq!(us.hear().unwrap(), b"and data");
    }
    // Without one that was heard, all begins anew.
    meet_their_server(&certificate);
    let (_, peer) = meet_their_server(&certificate);
    assert_eq!(peer.conn.handshake_kind(), Some(HandshakeKind::Full));
}

#[test]
fn our_server_gives_a_ticket_and_resumes() {
    let certificate = own_certificate();
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (near, far) = Wire::pair(WIDE);
        let mut peer = Peer::new(client_with(Arc::clone(&certificate.client)), far);
        let ours = accept(near, Arc::clone(&certificate.server), PATIENCE);
        let (io, shown) = shake(ours, || peer.turn().unwrap()).unwrap();
        let chain = certificate.chain();
        assert_eq!(shown.unjudged, chain, "the client's, also when resumed");
        assert_eq!(shown.resumed, kind == HandshakeKind::Resumed);
        assert_eq!(peer.conn.handshake_kind(), Some(kind));
        // The ticket leaves with the first word, in one piece.
        let mut us = Us::new(io);
        let before = us.io.stream.to.borrow().writes;
        us.say(b"hello");
        assert_eq!(us.io.stream.to.borrow().writes, before + 1);
        peer.turn().unwrap();
        assert_eq!(peer.take(), b"hello");
    }
}

/// A ticket that cannot be used, one in pieces, one that is too long: the connection goes on.
#[test]
fn odd_tickets_do_no_harm() {
    let (mut client, mut server) = with_ourselves();
    let long = [&[4, 1, 0, 0][..], &vec![0; 65536]].concat();
    for message in long.chunks(16 * 1024) {
        server.utter(HANDSHAKE, message);
    }
    server.utter(HANDSHAKE, &[4, 0, 0, 0]);
    server.utter(HANDSHAKE, &[4, 0, 0, 3, 1, 2, 3]);
    server.say(b"hello");
    assert_eq!(client.hear().unwrap(), b"hello");
}

/// Each ticket would cost a copy of the server's chain, and take the place of another server's.
#[test]
fn of_many_tickets_one_is_kept() {
    let certificate = own_certificate();
    let mut config = (*certificate.server).clone();
    config.send_tls13_tickets = 4;
    let conn = ServerConnection::new(Arc::new(config)).unwrap();
    let (near, far) = Wire::pair(WIDE);
    let mut peer = Peer::new(conn.into(), far);
    let config = Arc::clone(&certificate.client);
    let ours = connect(near, [127, 0, 0, 1].into(), config, PATIENCE);
    let mut us = Us::new(shake(ours, || peer.turn().unwrap()).unwrap().0);
    us.say(b"hello");
    peer.turn().unwrap();
    us.hear().unwrap();
    for kind in [HandshakeKind::Resumed, HandshakeKind::Full] {
        let (_, peer) = meet_their_server(&certificate);
        assert_eq!(peer.conn.handshake_kind(), Some(kind));
    }
}

/// A client whose session goes on and whose certificate is not believed any more hears so.
#[test]
fn who_is_refused_after_the_handshake_is_told() {
    let (near, far) = Wire::pair(WIDE);
    let mut peer = Peer::new(client_of_theirs(), far);
    let (io, _) = shake(our_server(near), || peer.turn().unwrap()).unwrap();
    runtime().block_on(io.refuse(AlertDescription::CertificateExpired));
    let why = peer.turn().unwrap_err();
    let told = rustls::Error::AlertReceived(AlertDescription::CertificateExpired);
    assert_eq!(why, told);
}
