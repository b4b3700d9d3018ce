//! Peers of port 15008 with a proper certificate that misuse HTTP/2, or the time of others: bounded in memory and time,
//! others untouched, and the log says why they were sent away.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests; the figures are part of their answer"
)]

use e2e_tests::app::{Kind, Server};
use e2e_tests::frames::{self, END_HEADERS, connect, frame, kind, reset, window_update};
use e2e_tests::hostile::Peer;
use e2e_tests::pulse::Pulse;
use e2e_tests::siege::Siege;
use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
/// What any flood may add to the agent's memory, beyond what windows promise.
const MEMORY: u64 = 24 * MIB;
/// What a friend's message may take while a flood is on, on a machine that runs other tests too.
const SLOWEST: Duration = Duration::from_secs(2);

/// What RFC 9113 calls `ENHANCE_YOUR_CALM`, in the words of the library.
const EXCESSIVE: &str = "excessive load";

/// Floods while a friend's connection is watched; gives the flood's own outcome.
fn under_watch<T>(siege: &Siege, what: &str, memory: u64, flood: impl FnOnce() -> T) -> T {
    let pulse = Pulse::start(&siege.friend, siege.server.at(8080)).unwrap();
    let before = siege.agent.memory().unwrap();
    let began = Instant::now();
    let outcome = flood();
    let grown = siege.agent.memory().unwrap().saturating_sub(before);
    let rhythm = pulse.stop().unwrap();
    println!(
        "{what}: {} KiB more in {:.1?}; the friend's {} messages took at most {:.0?}",
        grown / 1024,
        began.elapsed(),
        rhythm.beats,
        rhythm.slowest
    );
    assert!(grown <= memory, "{what}: the agent grew by {grown} bytes");
    assert!(rhythm.slowest <= SLOWEST, "{what}: {rhythm:?}");
    // New ones are served too.
    e2e_tests::app::echo(&siege.friend, siege.server.at(8080), "afterwards").unwrap();
    outcome
}

/// Sends until the agent ends the tunnel; how many pieces that took.
fn send_until_ended(
    peer: &mut Peer,
    most: usize,
    mut piece: impl FnMut(usize) -> Vec<u8>,
) -> usize {
    for number in 0..most {
        if peer.send(&piece(number)).is_err() {
            return number;
        }
    }
    peer.wait_for_end(Duration::from_secs(5))
        .unwrap_or_else(|_| panic!("{most} pieces, and the tunnel is still open"));
    most
}

/// The agent's words on the tunnel of the evil pod.
fn ended_because(siege: &Siege, why: &str) {
    let peer = siege.evil.ipv4.to_string();
    siege
        .agent
        .wait_for_log(&["tunnel from peer ended", &peer, why])
        .unwrap();
}

fn authority(siege: &Siege) -> String {
    siege.server.at(8080).to_string()
}

#[test]
fn rapid_reset() {
    let siege = Siege::lay().unwrap();
    let mut peer = siege.good_peer().unwrap();
    let to = authority(&siege);
    let sent = under_watch(&siege, "rapid reset", MEMORY, || {
        send_until_ended(&mut peer, 100, |piece| {
            let streams = (0..100).map(|stream| 2 * (piece * 100 + stream) + 1);
            streams
                .flat_map(|stream| {
                    let stream = u32::try_from(stream).unwrap();
                    [connect(stream, &to), reset(stream, 8)].concat()
                })
                .collect()
        })
    });
    println!("rapid reset: sent away after {} streams", sent * 100);
    ended_because(&siege, EXCESSIVE);
    assert!(
        siege.app.connections() < 500,
        "{} reached the application",
        siege.app.connections()
    );
}

#[test]
fn rapid_reset_at_a_pace_that_lets_each_stream_be_seen() {
    let siege = Siege::lay().unwrap();
    let mut peer = siege.good_peer().unwrap();
    let to = authority(&siege);
    under_watch(&siege, "paced reset", MEMORY, || {
        for number in 0..2000 {
            let stream = 2 * number + 1;
            let both = [connect(stream, &to), reset(stream, 8)];
            if both.iter().any(|bytes| peer.send(bytes).is_err()) {
                break;
            }
        }
    });
    // Either it was sent away, or it is still served as a peer that may change its mind.
    if peer.ended().is_none() {
        assert_eq!(peer.open(20001, &to).unwrap(), 200);
    } else {
        ended_because(&siege, EXCESSIVE);
    }
}

#[test]
fn continuation_flood() {
    let siege = Siege::lay().unwrap();
    let mut peer = siege.good_peer().unwrap();
    let first = frame(
        kind::HEADERS,
        0,
        1,
        &frames::connect_block(&authority(&siege)),
    );
    peer.send(&first).unwrap();
    under_watch(&siege, "continuation", MEMORY, || {
        send_until_ended(&mut peer, 10_000, |_| {
            frame(
                kind::CONTINUATION,
                0,
                1,
                &frames::literal("x-filler", &"x".repeat(900)),
            )
        })
    });
    ended_because(&siege, EXCESSIVE);
    assert_eq!(siege.app.connections(), 2, "only the friend's");
}

#[test]
fn empty_continuation_flood() {
    let siege = Siege::lay().unwrap();
    let mut peer = siege.good_peer().unwrap();
    peer.send(&frame(
        kind::HEADERS,
        0,
        1,
        &frames::connect_block(&authority(&siege)),
    ))
    .unwrap();
    under_watch(&siege, "empty continuation", MEMORY, || {
        send_until_ended(&mut peer, 1000, |_| {
            frame(kind::CONTINUATION, 0, 1, &[]).repeat(100)
        })
    });
    ended_because(&siege, EXCESSIVE);
}

#[test]
fn header_bomb() {
    let siege = Siege::lay().unwrap();
    let mut peer = siege.good_peer().unwrap();
    // One long header enters the table; then a byte each names it a thousand times.
    let mut block = frames::connect_block(&authority(&siege));
    block.push(0x40);
    block.extend(frames::literal("x-bomb", &"x".repeat(3900)).split_off(1));
    block.extend(std::iter::repeat_n(0xbe, 10_000));
    under_watch(&siege, "header bomb", MEMORY, || {
        for stream in 0..50_u32 {
            if peer
                .send(&frame(kind::HEADERS, END_HEADERS, 2 * stream + 1, &block))
                .is_err()
            {
                return;
            }
        }
        peer.wait_for("a refusal", |frame| {
            frame.stream == 1 && (frame.kind == kind::RST_STREAM || frame.payload.len() > 1)
                || frame.kind == kind::GOAWAY
        })
        .unwrap();
    });
    assert_eq!(siege.app.connections(), 2, "only the friend's");
}

/// Floods with what must be answered, first while the answers are read, then while they are not.
fn control_flood(what: &str, one: &[u8]) {
    let siege = Siege::lay().unwrap();
    let piece = one.repeat(1000);
    let mut reader = siege.good_peer().unwrap();
    let mut deaf = siege.good_peer().unwrap();
    deaf.stop_reading();
    under_watch(&siege, what, MEMORY, || {
        for _ in 0..200 {
            if reader.send(&piece).is_err() {
                break;
            }
        }
        let began = Instant::now();
        // Until the agent takes no more: it must not put the answers on a heap instead.
        while began.elapsed() < Duration::from_secs(5) {
            if !deaf
                .try_send(&piece, Duration::from_secs(1))
                .unwrap_or(false)
            {
                break;
            }
        }
    });
    match reader.ended() {
        None => assert_eq!(reader.open(1, &authority(&siege)).unwrap(), 200),
        Some(why) => println!("{what}: sent away: {why}"),
    }
}

#[test]
fn ping_flood() {
    control_flood("pings", &frame(kind::PING, 0, 0, b"eight by"));
}

#[test]
fn settings_flood() {
    control_flood(
        "settings",
        &frame(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 0]),
    );
}

#[test]
fn window_update_flood() {
    let siege = Siege::lay().unwrap();
    let mut peer = siege.good_peer().unwrap();
    under_watch(&siege, "window updates", MEMORY, || {
        for _ in 0..100 {
            peer.send(&window_update(0, 1).repeat(600)).unwrap();
        }
        assert_eq!(peer.open(1, &authority(&siege)).unwrap(), 200);
        send_until_ended(&mut peer, 100, |_| window_update(0, 0x7fff_ffff))
    });
    ended_because(&siege, "flow-control");
}

#[test]
fn empty_data_flood() {
    let siege = Siege::lay().unwrap();
    let mut peer = siege.good_peer().unwrap();
    assert_eq!(peer.open(1, &authority(&siege)).unwrap(), 200);
    under_watch(&siege, "empty data", MEMORY, || {
        for _ in 0..500 {
            if peer
                .send(&frame(kind::DATA, 0, 1, &[]).repeat(1000))
                .is_err()
            {
                break;
            }
        }
    });
    // Cheap frames on a stream whose reader keeps up cost no memory; what is asked for is still given, or refused aloud.
    match peer.ended() {
        None => peer.send(&frame(kind::DATA, 0, 1, b"still here")).unwrap(),
        Some(_) => ended_because(&siege, EXCESSIVE),
    }
}

#[test]
fn one_byte_frames_to_a_stalled_reader_beside_fifty_busy_siblings() {
    let siege = Siege::lay().unwrap();
    let _stalled = Server::start(&siege.server, 9090, Kind::Stall).unwrap();
    let mut peer = siege.good_peer().unwrap();
    assert_eq!(
        peer.open(1, &siege.server.at(9090).to_string()).unwrap(),
        200
    );
    let siblings: Vec<u32> = (1..=50).map(|number| 2 * number + 1).collect();
    for stream in &siblings {
        assert_eq!(peer.open(*stream, &authority(&siege)).unwrap(), 200);
    }
    under_watch(&siege, "one-byte frames", MEMORY, || {
        let flood = frame(kind::DATA, 0, 1, b"x").repeat(2000);
        for round in 0..200_u32 {
            peer.send(&flood).unwrap();
            if round % 10 == 0 {
                for stream in &siblings {
                    peer.send(&frame(kind::DATA, 0, *stream, &round.to_be_bytes()))
                        .unwrap();
                }
            }
        }
        for stream in &siblings {
            let (mut back, began) = (Vec::new(), Instant::now());
            while back.len() < 80 {
                assert!(
                    began.elapsed() < Duration::from_secs(10),
                    "{stream}: {}",
                    back.len()
                );
                peer.turn(Duration::from_millis(20)).unwrap();
                back.extend(peer.take_data(*stream));
            }
            let sent: Vec<u8> = (0..20_u32)
                .flat_map(|ten| (ten * 10).to_be_bytes())
                .collect();
            assert_eq!(back, sent);
        }
    });
    assert_eq!(peer.ended(), None);
}

#[test]
fn one_byte_frames_one_at_a_time_to_a_stalled_reader() {
    let siege = Siege::lay().unwrap();
    let _stalled = Server::start(&siege.server, 9090, Kind::Stall).unwrap();
    let mut peer = siege.good_peer().unwrap();
    assert_eq!(
        peer.open(1, &siege.server.at(9090).to_string()).unwrap(),
        200
    );
    let one = frame(kind::DATA, 0, 1, b"x");
    under_watch(&siege, "dripped one-byte frames", 16 * MIB, || {
        // Each in a record and a turn of its own, so that none can be copied together on arrival.
        for _ in 0..100_000 {
            peer.send(&one).unwrap();
        }
    });
    assert_eq!(peer.ended(), None);
}

#[test]
fn a_stalled_reader_is_given_a_window_and_no_more() {
    let siege = Siege::lay().unwrap();
    let _stalled = Server::start(&siege.server, 9090, Kind::Stall).unwrap();
    let mut peer = siege.good_peer().unwrap();
    assert_eq!(
        peer.open(1, &siege.server.at(9090).to_string()).unwrap(),
        200
    );
    under_watch(&siege, "beyond the window", MEMORY, || {
        // We heed no window, so that the agent must enforce its own.
        let piece = frame(kind::DATA, 0, 1, &[b'x'; 16_000]);
        for _ in 0..4000 {
            if peer.send(&piece).is_err() || !peer.complaints().is_empty() {
                return;
            }
        }
        panic!("64 MB to a reader that does not read, and no complaint");
    });
    let complaints = peer.complaints();
    assert!(
        complaints.iter().any(|(_, code)| *code == 3),
        "FLOW_CONTROL_ERROR: {complaints:?}"
    );
}

#[test]
fn silent_after_tcp() {
    let siege = Siege::lay().unwrap();
    let mut held = Vec::new();
    under_watch(&siege, "200 silent connections", MEMORY, || {
        for _ in 0..200 {
            held.push(e2e_tests::app::connect(&siege.evil, siege.server.at(15008)).unwrap());
        }
        siege
            .agent
            .wait_for_log(&["connection failed", "did not finish in time"])
            .unwrap();
        let all_said = || siege.agent.log().matches("did not finish in time").count() == 200;
        e2e_tests::until("all 200 are sent away", || {
            anyhow::ensure!(all_said());
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn silent_after_tls() {
    let siege = Siege::lay().unwrap();
    let config = siege.own_certificate().client();
    let mut peer = Peer::connect(&siege.evil, siege.server.at(15008), config).unwrap();
    under_watch(&siege, "silent after TLS", MEMORY, || {
        peer.wait_for_end(Duration::from_secs(6)).unwrap();
    });
    ended_because(&siege, "did not finish in time");
}

#[test]
fn a_byte_a_second() {
    let siege = Siege::lay().unwrap();
    let mut stream = e2e_tests::app::connect(&siege.evil, siege.server.at(15008)).unwrap();
    let began = Instant::now();
    under_watch(&siege, "a byte a second", MEMORY, || {
        // The beginning of a ClientHello that never gets to its end.
        for byte in [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03] {
            match stream.write_all(&[byte]) {
                Ok(()) => std::thread::sleep(Duration::from_secs(1)),
                Err(error) => {
                    assert!(matches!(
                        error.kind(),
                        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                    ));
                    return;
                }
            }
        }
        panic!("still open");
    });
    assert!(
        began.elapsed() < Duration::from_secs(7),
        "the whole handshake has one limit of 2 s"
    );
    siege
        .agent
        .wait_for_log(&[
            "connection failed",
            &siege.evil.ipv4.to_string(),
            "did not finish in time",
        ])
        .unwrap();
}

#[test]
fn a_tunnel_whose_peer_dies_without_a_word_is_given_up() {
    let siege = Siege::lay().unwrap();
    let mut peer = siege.good_peer().unwrap();
    assert_eq!(peer.open(1, &authority(&siege)).unwrap(), 200);
    peer.stop_reading();
    let began = Instant::now();
    under_watch(&siege, "silent tunnel", MEMORY, || {
        // Asked after 10 s, given 20 s; its stream ends with it.
        loop {
            let log = siege.agent.log();
            if log.contains("the peer went silent") {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{log}");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    ended_because(&siege, "the peer went silent");
}
