//! What a peer may and may not do.

use super::*;

#[test]
fn nothing_comes_before_settings() {
    for early in [
        request(1),
        data(1, b"x"),
        frame(kind::SETTINGS, flag::ACK, 0, &[]),
    ] {
        let core = shared(Role::Server, &limits());
        hear(&core, PREFACE).unwrap();
        assert_eq!(fault(&core, &early), Reason::PROTOCOL_ERROR);
    }
}

#[test]
fn frames_that_end_a_connection() {
    use Reason as R;
    let ping = |n| frame(kind::PING, 0, 0, &vec![0; n]);
    for (bad, reason) in [
        (data(0, b"x"), R::PROTOCOL_ERROR),
        (data(3, b"x"), R::PROTOCOL_ERROR),
        (data(2, b"x"), R::PROTOCOL_ERROR),
        (reset(3, R::CANCEL), R::PROTOCOL_ERROR),
        (reset(0, R::CANCEL), R::PROTOCOL_ERROR),
        (update(3, 1), R::PROTOCOL_ERROR),
        (update(0, 0), R::PROTOCOL_ERROR),
        (update(0, (1 << 31) - 1), R::FLOW_CONTROL_ERROR),
        (request(2), R::PROTOCOL_ERROR),
        (headers(3, &[0xff]), R::COMPRESSION_ERROR),
        (frame(kind::PUSH_PROMISE, 4, 1, &[0; 4]), R::PROTOCOL_ERROR),
        (frame(kind::CONTINUATION, 4, 1, &[]), R::PROTOCOL_ERROR),
        (frame(kind::SETTINGS, 0, 1, &[]), R::PROTOCOL_ERROR),
        (
            frame(kind::SETTINGS, flag::ACK, 0, &[0; 6]),
            R::FRAME_SIZE_ERROR,
        ),
        (frame(kind::RST_STREAM, 0, 1, &[0; 5]), R::FRAME_SIZE_ERROR),
        (
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3]),
            R::FRAME_SIZE_ERROR,
        ),
        (frame(kind::GOAWAY, 0, 0, &[0; 7]), R::FRAME_SIZE_ERROR),
        (ping(7), R::FRAME_SIZE_ERROR),
        (setting(4, 1 << 31), R::FLOW_CONTROL_ERROR),
        (setting(5, 1 << 24), R::PROTOCOL_ERROR),
    ] {
        let core = server();
        hear(&core, &request(1)).unwrap();
        assert_eq!(fault(&core, &bad), reason, "{bad:?}");
    }
}

#[test]
fn frames_that_end_a_stream() {
    use Reason as R;
    for (bad, reason) in [
        (
            [last_data(1, b"x"), last_data(1, b"")].concat(),
            R::STREAM_CLOSED,
        ),
        (
            [last_data(1, b"x"), headers(1, &[])].concat(),
            R::STREAM_CLOSED,
        ),
        (headers(1, &[]), R::PROTOCOL_ERROR),
        (update(1, 0), R::PROTOCOL_ERROR),
        (update(1, (1 << 31) - 1), R::FLOW_CONTROL_ERROR),
        (data(1, &[0; 1001]), R::FLOW_CONTROL_ERROR),
    ] {
        let core = server();
        let (stream, _app) = served(&core, 1);
        hear(&core, &bad).unwrap();
        assert_eq!(said_of(&core, kind::RST_STREAM), [(1, reason.0)], "{bad:?}");
        assert!(matches!(broken(&stream), Some(Broken::Ended(r)) if r == reason));
        // The peer may not have heard yet: nothing more is said, whatever comes.
        hear(
            &core,
            &[data(1, b"x"), headers(1, &[]), update(1, 0)].concat(),
        )
        .unwrap();
        drop(stream);
        assert_eq!(said(&core), []);
        assert_whole(&core);
    }
}

#[test]
fn what_is_not_known_is_ignored() {
    let core = server();
    hear(&core, &request(1)).unwrap();
    let priority = frame(kind::PRIORITY, 0, 9, &[0; 5]);
    let unknown = frame(16, 255, 0, b"whatever");
    let pong = frame(kind::PING, flag::ACK, 0, b"not ours");
    let goaway = frame::goaway(0, Reason::NO_ERROR).to_vec();
    hear(
        &core,
        &[priority, unknown, pong, setting(77, 7), goaway].concat(),
    )
    .unwrap();
    assert!(core.borrow_mut().take_asked().is_some());
    hear(&core, &request(3)).unwrap();
    assert!(core.borrow_mut().take_asked().is_some());
}

#[test]
fn a_header_block_may_come_in_pieces_and_nothing_between_them() {
    let block = connect_block();
    let (first, rest) = block.split_at(5);
    let begin = frame(kind::HEADERS, 0, 1, first);
    let end = frame(kind::CONTINUATION, flag::END_HEADERS, 1, rest);
    let core = server();
    hear(&core, &begin).unwrap();
    hear(&core, &frame(kind::CONTINUATION, 0, 1, &[])).unwrap();
    hear(&core, &end).unwrap();
    assert_eq!(taken(&core).accept(None).ok(), Some(()));
    for between in [
        data(1, b""),
        frame(kind::PING, 0, 0, &[0; 8]),
        frame(16, 0, 0, b"unknown"),
        request(3),
        frame(kind::CONTINUATION, flag::END_HEADERS, 3, rest),
    ] {
        let core = server();
        hear(&core, &begin).unwrap();
        assert_eq!(
            fault(&core, &between),
            Reason::PROTOCOL_ERROR,
            "{between:?}"
        );
    }
    // And not for ever.
    let core = server();
    hear(&core, &begin).unwrap();
    let piece = frame(kind::CONTINUATION, 0, 1, &[]);
    let endless = piece.repeat(1000);
    assert_eq!(fault(&core, &endless), Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn header_blocks_are_read_whatever_becomes_of_their_streams() {
    let core = server();
    let streams: Vec<_> = (0..4).map(|n| served(&core, 2 * n + 1)).collect();
    // Refused, but its authority is entered in the table: the first number behind the fixed ones.
    let entering = [&b"\x02\x07CONNECT\x41\x05"[..], b"a:100"].concat();
    hear(&core, &headers(9, &entering)).unwrap();
    assert_eq!(
        said_of(&core, kind::RST_STREAM),
        [(9, Reason::REFUSED_STREAM.0)]
    );
    drop(streams);
    // So is what comes for streams that have gone.
    let entering = [&b"\x41\x05"[..], b"b:200"].concat();
    hear(&core, &headers(1, &entering)).unwrap();
    let numbered = |id, n: u8| headers(id, &[&b"\x02\x07CONNECT"[..], &[0x80 | n]].concat());
    hear(&core, &[numbered(11, 62), numbered(13, 63)].concat()).unwrap();
    let next = || core.borrow_mut().take_asked().unwrap().1.authority;
    assert_eq!([next(), next()], ["b:200".into(), "a:100".into()]);
}

#[test]
fn headers_of_a_stream_that_we_have_ended_are_no_fault() {
    let core = server();
    let (stream, _app) = served(&core, 1);
    drop(stream);
    said(&core);
    let trailers = frame(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &[]);
    hear(&core, &trailers).unwrap();
    assert_eq!(
        said_of(&core, kind::RST_STREAM),
        [(1, Reason::STREAM_CLOSED.0)]
    );
    // But they are counted.
    let most = limits().local_resets;
    hear(&core, &trailers.repeat(most - 1)).unwrap();
    assert_eq!(fault(&core, &trailers), Reason::ENHANCE_YOUR_CALM);
}

#[test]
fn too_many_streams_are_refused_and_that_is_no_mistake() {
    let core = server();
    let streams: Vec<_> = (0..4).map(|n| served(&core, 2 * n + 1)).collect();
    for n in 4..1000 {
        hear(&core, &request(2 * n + 1)).unwrap();
        let refused = (2 * n + 1, Reason::REFUSED_STREAM.0);
        assert_eq!(said_of(&core, kind::RST_STREAM), [refused]);
    }
    assert_eq!(core.borrow().mistakes, 0);
    drop(streams);
    hear(&core, &request(2001)).unwrap();
    assert!(core.borrow_mut().take_asked().is_some());
}

#[test]
fn a_stream_that_has_ended_makes_room_for_another_while_its_bytes_wait() {
    let core = server();
    let streams: Vec<_> = (0..4).map(|n| served(&core, 2 * n + 1)).collect();
    let (stream, app) = &streams[0];
    app.takes.set(0);
    hear(&core, &last_data(1, b"slowly")).unwrap();
    stream.finish();
    said(&core);
    hear(&core, &request(9)).unwrap();
    assert!(core.borrow_mut().take_asked().is_some());
    assert_eq!(said_of(&core, kind::RST_STREAM), []);
    assert_eq!(core.borrow().streams[&1].waiting, b"slowly");
}

#[test]
fn streams_that_are_reset_unseen_are_few() {
    let both = |n: u32| [request(2 * n + 1), reset(2 * n + 1, Reason::CANCEL)].concat();
    let core = server();
    let most = u32::try_from(limits().pending_resets).unwrap();
    for n in 0..most {
        hear(&core, &both(n)).unwrap();
    }
    assert_eq!(fault(&core, &both(most)), Reason::ENHANCE_YOUR_CALM);
    // Over a long life there are many, among others that stay.
    let core = server();
    for n in 0..10 * most {
        hear(&core, &both(2 * n)).unwrap();
        hear(&core, &request(4 * n + 3)).unwrap();
        drop(taken(&core));
        said(&core);
    }
}

#[test]
fn requests_that_cannot_be_served_are_answered_or_reset() {
    let core = server();
    let large = [&b"\x00\x01a\x7f\xff\x7f"[..], &vec![b'x'; 127 + 16_383]].concat();
    let block = [connect_block(), large].concat();
    hear(&core, &headers(1, &block)).unwrap();
    let said = said(&core);
    let kinds: Vec<_> = said
        .iter()
        .map(|(head, _)| (head.kind, head.stream))
        .collect();
    assert_eq!(kinds, [(kind::HEADERS, 1), (kind::RST_STREAM, 1)]);
    assert!(said[0].0.has(flag::END_STREAM));
    hear(&core, &headers(3, b"\x02\x07CONNECT")).unwrap();
    assert_eq!(
        said_of(&core, kind::RST_STREAM),
        [(3, Reason::PROTOCOL_ERROR.0)]
    );
    assert!(core.borrow().streams.is_empty());
    for n in 0..300 {
        let heard = hear(&core, &headers(5 + 2 * n, b"\x02\x07CONNECT"));
        if u64::from(n) < 254 {
            heard.unwrap();
        } else {
            assert_eq!(heard.unwrap_err().reason(), Reason::ENHANCE_YOUR_CALM);
            return;
        }
    }
}

#[test]
fn pings_and_settings_are_answered_once_each() {
    let core = server();
    let ping = frame(kind::PING, 0, 0, b"ping pon");
    let ack = frame(kind::SETTINGS, flag::ACK, 0, &[]);
    hear(&core, &[ping, setting(3, 7), ack].concat()).unwrap();
    let said = said(&core);
    assert_eq!(
        said,
        [
            (Head::new(8, kind::PING, flag::ACK, 0), b"ping pon".to_vec()),
            (Head::new(0, kind::SETTINGS, flag::ACK, 0), Vec::new()),
        ]
    );
    assert_eq!(core.borrow().allowed(), 7);
}
