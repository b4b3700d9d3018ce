//! Round trips, the beginning and the end of a connection.

use std::io::ErrorKind;
use std::task::Poll;

use rustls::AlertDescription;
use tokio::net::TcpStream;

use super::wire::{Peer, Wire};
use super::*;

const R: usize = 16 * 1024;
const SIZES: &[usize] = &[
    1,
    2,
    100,
    R - 1,
    R,
    R + 1,
    2 * R - 1,
    2 * R,
    2 * R + 1,
    15 * R + 7,
    300_000,
    32 * R,
    40 * R,
];

#[test]
fn what_is_said_is_heard_on_both_sides_and_in_both_directions() {
    for we_are_client in [true, false] {
        let (mut us, mut peer) = with_rustls(we_are_client, WIDE);
        for size in SIZES {
            let data = noise(*size);
            let writes = us.io.stream.to.borrow().writes;
            us.say(&data);
            assert_eq!(us.io.stream.to.borrow().writes, writes + 1);
            assert!(peer.take() == data, "{size} to rustls");
            peer.say(&data);
            assert!(us.hear().unwrap() == data, "{size} from rustls");
        }
        let sizes = SIZES.iter().sum::<usize>() as u64;
        assert_eq!(us.gather.put_total(), sizes);
        assert_eq!(us.gather.sent_total(), sizes);
        assert!(us.io.received() > sizes);
        assert!(us.io.pieces().0.is_empty());
    }
}

#[test]
fn a_narrow_wire_changes_nothing() {
    for room in [1, 7, 1000, R] {
        let (mut us, mut peer) = with_rustls(true, room);
        let data = noise(if room < 100 { 20_000 } else { 200_000 });
        us.gather.put(&data);
        while us.send().is_pending() {
            peer.turn().unwrap();
        }
        assert!(peer.take() == data);
        // It comes in as small pieces.
        peer.say(&data);
        let all = std::mem::take(&mut us.io.stream.from.borrow_mut().bytes);
        let mut heard = Vec::new();
        for some in Vec::from(all).chunks(room) {
            us.io.stream.from.borrow_mut().bytes.extend(some);
            heard.extend(us.hear().unwrap());
        }
        assert!(heard == data);
    }
}

#[test]
fn we_understand_ourselves_over_duplex() {
    runtime().block_on(async {
        for room in [64, 1 << 20] {
            let (near, far) = tokio::io::duplex(room);
            let peer = [127, 0, 0, 1].into();
            let (mut gather, mut back, mut heard) =
                (Gather::default(), Gather::default(), Vec::new());
            let near = async {
                let config = Arc::clone(&CERTIFICATE.client);
                let mut near = connect(near, peer, config, PATIENCE).await.unwrap().0;
                std::future::poll_fn(|cx| near.poll_send(cx, &mut gather, usize::MAX))
                    .await
                    .unwrap();
                near
            };
            let far = accept(far, Arc::clone(&CERTIFICATE.server), PATIENCE);
            let (mut near, far) = tokio::join!(near, far);
            let mut far = far.unwrap().0;
            let data = noise(300_000);
            gather.put(&data);
            tokio::join!(
                std::future::poll_fn(|cx| near.poll_close(cx, &mut gather)),
                async {
                    while std::future::poll_fn(|cx| far.poll_open(cx, &mut back, usize::MAX))
                        .await
                        .unwrap()
                        == Opened::Some
                    {
                        let (buffer, pieces) = far.pieces();
                        for piece in pieces {
                            heard.extend_from_slice(&buffer[piece.clone()]);
                        }
                        far.release();
                    }
                },
            )
            .0
            .unwrap();
            assert!(heard == data);
        }
    });
}

#[test]
fn what_comes_right_behind_the_handshake_is_heard() {
    for update in [false, true] {
        let (near, far) = Wire::pair(WIDE);
        let mut peer = Peer::new(client_of_theirs(), far);
        // It is sealed as soon as there is a key, and leaves with the last flight.
        let data = noise(50_000);
        io::Write::write_all(&mut peer.conn.writer(), &data).unwrap();
        let io = shake(our_server(near), || {
            peer.turn().unwrap();
            if update && !peer.conn.is_handshaking() {
                peer.conn.refresh_traffic_keys().unwrap();
                peer.say(b"afterwards");
            }
        });
        let mut us = Us::new(io.unwrap().0);
        assert!(us.send().is_ready());
        let mut heard = us.hear().unwrap();
        if update {
            assert_eq!(heard.split_off(data.len()), b"afterwards");
            assert_eq!(us.gather.waiting(), 27);
        }
        assert!(heard == data);
        us.say(b"well");
        assert_eq!(peer.take(), b"well");
    }
}

#[test]
fn a_refused_handshake_is_told_and_keeps_its_error() {
    let (near, far) = Wire::pair(WIDE);
    far.to
        .borrow_mut()
        .bytes
        .extend([22, 3, 1, 0, 4, 99, 0, 0, 0]);
    let Err(TunnelError::Handshake(error)) = shake(our_server(near), || ()) else {
        panic!("it was accepted");
    };
    let inner = error.get_ref().unwrap();
    assert!(inner.downcast_ref::<rustls::Error>().is_some());
    assert_eq!(far.from.borrow().bytes[0], 21);
}

#[test]
fn both_sides_can_close() {
    let (mut us, mut peer) = with_rustls(true, WIDE);
    us.gather.put(b"last words");
    for _ in 0..2 {
        let closed = us.io.poll_close(&mut context(), &mut us.gather);
        assert!(matches!(closed, Poll::Ready(Ok(()))));
    }
    assert_eq!(peer.take(), b"last words");
    assert!(peer.conn.process_new_packets().unwrap().peer_has_closed());
    assert!(us.io.stream.to.borrow().over);
    peer.say(b"theirs");
    peer.conn.send_close_notify();
    peer.flush();
    us.io.stream.from.borrow_mut().bytes.extend([99; 10]);
    assert_eq!(us.hear().unwrap(), b"theirs");
    assert!(us.ended);
    assert_eq!(us.hear().unwrap(), b"");
    // What is put too late is not sent.
    let before = us.io.stream.to.borrow().bytes.len();
    us.say(b"too late");
    assert_eq!(us.io.stream.to.borrow().bytes.len(), before);
    assert_eq!(us.gather.sent_total(), 10);
}

#[test]
fn the_end_of_the_stream_is_an_end() {
    let (mut us, mut peer) = with_rustls(false, WIDE);
    peer.say(b"theirs");
    peer.wire.to.borrow_mut().bytes.push_back(23);
    peer.wire.to.borrow_mut().over = true;
    assert_eq!(us.hear().unwrap(), b"theirs");
    assert!(us.ended);
    assert!(matches!(us.open(), Poll::Ready(Ok(Opened::End))));
}

#[test]
fn a_broken_stream_is_heard_to_its_end() {
    let (mut us, mut peer) = with_rustls(true, WIDE);
    us.say(b"arrives");
    peer.say(b"answer");
    us.io.stream.to.borrow_mut().fails = Some(ErrorKind::ConnectionReset);
    for _ in 0..3 {
        us.say(b"more");
        assert!(us.gather.is_empty());
    }
    assert_eq!(us.gather.sent_total(), 7);
    assert_eq!(us.gather.put_total(), 19);
    assert_eq!(us.hear().unwrap(), b"answer");
    assert!(us.open().is_pending());
    us.io.stream.from.borrow_mut().over = true;
    assert_eq!(us.hear().unwrap_err().kind(), ErrorKind::ConnectionReset);
    us.hear().unwrap_err();
}

#[test]
fn what_was_tampered_with_ends_the_connection_and_is_told() {
    let (mut us, mut peer) = with_rustls(true, WIDE);
    peer.say(b"good");
    peer.say(b"bad");
    *us.io.stream.from.borrow_mut().bytes.back_mut().unwrap() ^= 1;
    assert!(matches!(us.open(), Poll::Ready(Ok(Opened::Some))));
    let (buffer, pieces) = us.io.pieces();
    assert_eq!(&buffer[pieces[0].clone()], b"good");
    us.gather.put(b"never sent");
    assert!(us.refuse().contains("decrypt"));
    let told = rustls::Error::AlertReceived(AlertDescription::BadRecordMac);
    assert_eq!(peer.turn(), Err(told));
    assert!(peer.got.is_empty());
    us.hear().unwrap_err();
    us.say(b"nor this");
    assert_eq!(us.gather.sent_total(), 0);
}

#[test]
fn an_idle_connection_is_small() {
    let (io, gather) = (size_of::<TlsIo<TcpStream>>(), size_of::<Gather>());
    assert!(io < 512);
    assert!(gather < 256);
}
