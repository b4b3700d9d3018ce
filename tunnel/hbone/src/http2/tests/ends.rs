//! How streams and connections begin and end, and what their users hear.

use super::*;

fn close(core: &Shared) {
    let error = io::Error::from(io::ErrorKind::UnexpectedEof);
    core.borrow_mut().end(&Broken::Died(Rc::new(error)));
}

fn goaway(last: u32) -> Vec<u8> {
    frame::goaway(last, Reason::NO_ERROR).to_vec()
}

#[test]
fn the_application_gets_nothing_before_the_answer_was_sent() {
    let core = server();
    hear(&core, &[request(1), data(1, b"early")].concat()).unwrap();
    let stream = taken(&core);
    stream.accept(None).unwrap();
    let app = App::new(usize::MAX);
    stream.attach(Rc::clone(&app) as Rc<dyn Sink>);
    hear(&core, &last_data(1, b" bird")).unwrap();
    core.borrow_mut().open_gates();
    let give = |_: &[IoSlice<'_>]| panic!("too early");
    assert!(stream.poll_down(&mut 100, give).is_pending());
    assert_eq!(app.got(), b"");
    said(&core);
    assert_eq!(app.got(), b"");
    let woken = watched(&stream);
    core.borrow_mut().open_gates();
    assert_eq!(app.got(), b"early bird");
    assert_eq!(woken.take(), 1);
    let give = |_: &[IoSlice<'_>]| panic!("nothing waits");
    assert!(stream.poll_down(&mut 100, give).is_ready());
    assert_whole(&core);
}

#[test]
fn an_application_that_comes_after_the_answer_gets_what_waits() {
    let core = server();
    hear(&core, &[request(1), data(1, b"early")].concat()).unwrap();
    let stream = taken(&core);
    stream.accept(None).unwrap();
    said(&core);
    core.borrow_mut().open_gates();
    hear(&core, &data(1, b" bird")).unwrap();
    let app = App::new(7);
    stream.attach(Rc::clone(&app) as Rc<dyn Sink>);
    assert_eq!(app.got(), b"early b");
    assert_whole(&core);
}

#[test]
fn what_follows_a_refusal_is_not_the_applications() {
    let core = client();
    let (stream, app) = called(&core);
    let refused = headers(1, b"\x08\x03503");
    hear(
        &core,
        &[refused, data(1, b"no!"), last_data(1, b"never!")].concat(),
    )
    .unwrap();
    let (status, _) = stream.take_answer().unwrap();
    assert_eq!(status, 503);
    assert_eq!(app.got(), b"");
    assert_whole(&core);
    drop(stream);
    assert_whole(&core);
    let (stream, app) = called(&core);
    hear(&core, &[ok(3), data(3, b"yes")].concat()).unwrap();
    assert_eq!(app.got(), b"yes");
    assert_eq!(stream.take_answer().unwrap().0, 200);
    assert!(stream.take_answer().is_none());
}

#[test]
fn data_before_the_answer_ends_the_stream_and_is_given_to_nobody() {
    let core = client();
    let (stream, app) = called(&core);
    hear(&core, &[data(1, b"too early"), ok(1)].concat()).unwrap();
    assert!(matches!(broken(&stream), Some(Broken::Ended(_))));
    assert_eq!(app.got(), b"");
    assert_whole(&core);
}

#[test]
fn answers_that_mean_nothing() {
    for bad in [
        headers(1, &[]),
        headers(1, b"\x08\x03abc"),
        headers(1, &[0x88, 0x88]),
        frame(
            kind::HEADERS,
            flag::END_HEADERS | flag::END_STREAM,
            1,
            b"\x08\x03103",
        ),
    ] {
        let core = client();
        let (stream, _app) = called(&core);
        hear(&core, &bad).unwrap();
        assert!(stream.take_answer().is_none());
        assert!(matches!(broken(&stream), Some(Broken::Ended(_))), "{bad:?}");
    }
    // The answer comes after others that are none.
    let core = client();
    let (stream, _app) = called(&core);
    hear(&core, &[headers(1, b"\x08\x03103"), ok(1)].concat()).unwrap();
    assert_eq!(stream.take_answer().unwrap().0, 200);
    hear(&core, &ok(1)).unwrap();
    assert!(matches!(broken(&stream), Some(Broken::Ended(_))));
    assert_eq!(fault(&core, &ok(3)), Reason::PROTOCOL_ERROR);
}

#[test]
fn a_quiet_reset_is_an_end_once_the_stream_has_begun() {
    for reason in [Reason::NO_ERROR, Reason::CANCEL] {
        let core = client();
        let (stream, app) = called(&core);
        app.takes.set(2);
        hear(&core, &[ok(1), data(1, b"all"), reset(1, reason)].concat()).unwrap();
        assert!(broken(&stream).is_none());
        assert!(stream.is_finished());
        // What waits is not lost, and nothing more is said.
        let give = |pieces: &[IoSlice<'_>]| {
            app.takes.set(100);
            std::task::Poll::Ready(app.give(pieces))
        };
        assert!(stream.poll_down(&mut 100, give).is_ready());
        assert_eq!(app.got(), b"all");
        said(&core);
        stream.finish();
        assert_eq!(stream.send_kept(b"kept"), 4);
        drop(stream);
        assert_eq!(said(&core), []);
        let (stream, _app) = called(&core);
        hear(&core, &reset(3, reason)).unwrap();
        assert!(matches!(broken(&stream), Some(Broken::Reset(r)) if r == reason));
    }
    let core = server();
    hear(&core, &request(1)).unwrap();
    let stream = taken(&core);
    stream.accept(None).unwrap();
    // Our answer is still here.
    hear(&core, &reset(1, Reason::CANCEL)).unwrap();
    assert!(matches!(broken(&stream), Some(Broken::Reset(_))));
}

#[test]
fn only_what_a_peer_has_not_looked_at_is_unprocessed() {
    let core = client();
    let streams: Vec<_> = (0..4).map(|_| called(&core).0).collect();
    hear(&core, &[goaway((1 << 31) - 1), goaway(3)].concat()).unwrap();
    assert!(!core.borrow().opens());
    hear(&core, &goaway(7)).unwrap();
    hear(&core, &reset(3, Reason::REFUSED_STREAM)).unwrap();
    close(&core);
    let ends: Vec<_> = streams
        .iter()
        .map(|stream| broken(stream).unwrap())
        .collect();
    let unprocessed: Vec<_> = ends.iter().map(Broken::is_unprocessed).collect();
    assert_eq!(unprocessed, [false, true, true, true]);
    let dead: Vec<_> = ends.iter().map(Broken::is_death).collect();
    assert_eq!(dead, [true, false, false, false]);
    assert!(core.borrow_mut().connect(&head()).is_none());
}

#[test]
fn a_connection_that_ends_for_a_mistake_has_not_died() {
    let core = client();
    let (stream, _app) = called(&core);
    core.borrow_mut()
        .end(&Broken::Ended(Reason::PROTOCOL_ERROR));
    close(&core);
    let end = broken(&stream).unwrap();
    assert!(!end.is_death() && !end.is_unprocessed());
}

#[test]
fn a_stream_that_has_ended_both_ways_survives_its_connection() {
    let core = server();
    let (stream, app) = served(&core, 1);
    app.takes.set(0);
    hear(&core, &last_data(1, b"last")).unwrap();
    stream.finish();
    close(&core);
    assert!(broken(&stream).is_none());
    app.takes.set(100);
    let give = |pieces: &[IoSlice<'_>]| std::task::Poll::Ready(app.give(pieces));
    assert!(stream.poll_down(&mut 100, give).is_ready());
    assert_eq!(app.got(), b"last");
}

#[test]
fn a_goodbye_lets_what_is_under_way_be_served() {
    let core = server();
    hear(&core, &request(1)).unwrap();
    let first = taken(&core);
    core.borrow_mut().say_goodbye();
    core.borrow_mut().say_goodbye();
    let goodbye = said(&core);
    assert_eq!(goodbye.len(), 2);
    assert_eq!(goodbye[0].1[..4], [127, 255, 255, 255]);
    hear(&core, &request(3)).unwrap();
    let second = taken(&core);
    let heard = frame(kind::PING, flag::ACK, 0, &goodbye[1].1);
    hear(&core, &[&heard[..], &heard].concat()).unwrap();
    assert_eq!(said_of(&core, kind::GOAWAY), [(0, 3)]);
    assert!(!core.borrow().is_served());
    drop((first, second));
    assert!(core.borrow().is_served());
}

#[test]
fn what_comes_for_streams_beyond_the_last_is_ignored_and_owed() {
    let core = server();
    hear(&core, &request(1)).unwrap();
    let stream = taken(&core);
    core.borrow_mut().say_last(Reason::NO_ERROR);
    assert_eq!(said_of(&core, kind::GOAWAY), [(0, 1)]);
    let late = [
        request(3),
        data(3, &[7; 900]),
        update(3, 7),
        last_data(3, b""),
        request(5),
        reset(5, Reason::CANCEL),
    ];
    hear(&core, &late.concat()).unwrap();
    assert!(core.borrow_mut().take_asked().is_none());
    assert_whole(&core);
    assert_eq!(said(&core), []);
    // The others go on.
    stream.accept(None).unwrap();
    hear(&core, &last_data(1, b"x")).unwrap();
    assert!(stream.peer_has_ended());
}

/// What is said of a stream that is dropped.
fn dropped(core: &Shared, stream: Handle) -> Vec<(u32, u32)> {
    said(core);
    drop(stream);
    assert!(core.borrow().streams.is_empty());
    assert_whole(core);
    said_of(core, kind::RST_STREAM)
}

#[test]
fn a_stream_may_be_dropped_at_any_time() {
    let refused = [(1, Reason::REFUSED_STREAM.0)];
    let core = server();
    hear(&core, &[request(1), data(1, b"x")].concat()).unwrap();
    let stream = taken(&core);
    assert_eq!(dropped(&core, stream), refused);

    let core = server();
    hear(&core, &request(1)).unwrap();
    let stream = taken(&core);
    stream.accept(None).unwrap();
    drop(stream);
    let kinds: Vec<_> = said(&core).iter().map(|(head, _)| head.kind).collect();
    assert_eq!(kinds, [kind::HEADERS, kind::RST_STREAM]);
    core.borrow_mut().open_gates();

    let core = server();
    let (mut stream, _app) = served(&core, 1);
    stream.falls_with(Reason::CONNECT_ERROR);
    hear(&core, &last_data(1, b"x")).unwrap();
    assert_eq!(dropped(&core, stream), [(1, Reason::CONNECT_ERROR.0)]);

    let core = server();
    let (stream, _app) = served(&core, 1);
    stream.finish();
    assert_eq!(dropped(&core, stream), refused);

    let core = server();
    let (stream, _app) = served(&core, 1);
    stream.finish();
    hear(&core, &last_data(1, b"x")).unwrap();
    assert_eq!(dropped(&core, stream), []);

    let core = server();
    let (stream, _app) = served(&core, 1);
    close(&core);
    assert_eq!(dropped(&core, stream), []);
}

#[test]
fn a_refusal_ends_the_stream_and_asks_for_no_more() {
    for ended in [false, true] {
        let core = server();
        hear(&core, &request(1)).unwrap();
        if ended {
            hear(&core, &last_data(1, b"x")).unwrap();
        }
        taken(&core).refuse(http::StatusCode::FORBIDDEN);
        let said = said(&core);
        assert!(said[0].0.kind == kind::HEADERS && said[0].0.has(flag::END_STREAM));
        let resets = said
            .iter()
            .filter(|(head, _)| head.kind == kind::RST_STREAM);
        let zero: Vec<_> = resets.map(|(_, reason)| &reason[..]).collect();
        assert_eq!(zero, if ended { vec![] } else { vec![&[0; 4][..]] });
        assert_whole(&core);
    }
}

#[test]
fn a_request_may_be_reset_before_it_is_answered() {
    let core = server();
    hear(&core, &request(1)).unwrap();
    let stream = taken(&core);
    hear(&core, &reset(1, Reason::CANCEL)).unwrap();
    stream.accept(None).unwrap_err();
    stream.refuse(http::StatusCode::FORBIDDEN);
    assert_eq!(said(&core), []);
}
