//! Every byte of the connection's window comes back once, whatever becomes of it.

use super::super::stream::Stuck;
use super::*;

#[test]
fn what_the_application_takes_is_owed_and_told_by_halves() {
    let core = server();
    let (_stream, app) = served(&core, 1);
    hear(&core, &data(1, &[7; 499])).unwrap();
    assert_eq!(said_of(&core, kind::WINDOW_UPDATE), []);
    assert_whole(&core);
    hear(&core, &data(1, &[8; 1])).unwrap();
    assert_eq!(said_of(&core, kind::WINDOW_UPDATE), [(1, 500)]);
    assert_eq!(app.got().len(), 500);
    assert_whole(&core);
}

#[test]
fn padding_is_owed_as_it_comes() {
    let core = server();
    let (_stream, app) = served(&core, 1);
    for _ in 0..50 {
        let payload = [&[200][..], b"data", &[0; 200]].concat();
        hear(&core, &frame(kind::DATA, flag::PADDED, 1, &payload)).unwrap();
        assert_whole(&core);
    }
    assert_eq!(app.got(), b"data".repeat(50));
}

#[test]
fn what_waits_is_owed_when_it_is_taken_or_its_stream_goes() {
    let core = server();
    let (stream, app) = served(&core, 1);
    app.takes.set(100);
    hear(&core, &data(1, &[7; 300])).unwrap();
    assert_eq!(core.borrow().owed, 100);
    let mut left = 1000;
    app.takes.set(50);
    let give = |pieces: &[IoSlice<'_>]| match app.give(pieces) {
        Err(_) => std::task::Poll::Pending,
        given => std::task::Poll::Ready(given),
    };
    assert!(stream.poll_down(&mut left, give).is_pending());
    assert_eq!((core.borrow().owed, app.got().len()), (150, 150));
    assert_whole(&core);
    drop(stream);
    assert_eq!(core.borrow().owed, 300);
    assert_whole(&core);
}

#[test]
fn what_an_application_can_no_longer_take_is_owed() {
    let core = server();
    let (stream, app) = served(&core, 1);
    app.fails.set(true);
    for _ in 0..3 {
        hear(&core, &data(1, &[7; 300])).unwrap();
        assert_whole(&core);
    }
    let news = stream.news(&Context::from_waker(Waker::noop()));
    assert!(matches!(news, News::Stuck(Stuck::Failed(_))), "{news:?}");
    drop(stream);
    assert_eq!(core.borrow().owed, 900);
}

#[test]
fn what_came_on_a_stream_that_was_reset_unseen_is_owed() {
    let core = server();
    let both = [request(1), data(1, &[7; 900]), reset(1, Reason::CANCEL)].concat();
    hear(&core, &both).unwrap();
    assert!(core.borrow_mut().take_asked().is_none());
    assert!(core.borrow().streams.is_empty());
    assert_eq!(core.borrow().owed, 900);
    assert_whole(&core);
}

#[test]
fn what_comes_on_broken_and_forgotten_streams_is_owed() {
    let core = server();
    let (stream, app) = served(&core, 1);
    app.takes.set(0);
    hear(&core, &data(1, &[7; 100])).unwrap();
    hear(&core, &reset(1, Reason::INTERNAL_ERROR)).unwrap();
    hear(&core, &data(1, &[7; 100])).unwrap();
    assert_whole(&core);
    drop(stream);
    hear(&core, &data(1, &[7; 100])).unwrap();
    assert_eq!(core.borrow().owed, 300);
    assert_whole(&core);
    assert_eq!(said_of(&core, kind::WINDOW_UPDATE), []);
}

#[test]
fn a_broken_streams_window_is_not_told() {
    let core = server();
    let (_stream, _app) = served(&core, 1);
    hear(&core, &reset(1, Reason::INTERNAL_ERROR)).unwrap();
    let padded = [&[255][..], &[0; 255]].concat();
    for _ in 0..3 {
        hear(&core, &frame(kind::DATA, flag::PADDED, 1, &padded)).unwrap();
    }
    assert_eq!(said_of(&core, kind::WINDOW_UPDATE), []);
    assert_whole(&core);
}

#[test]
fn what_comes_after_the_end_is_owed_and_goes_to_nobody() {
    let core = server();
    let (stream, app) = served(&core, 1);
    app.takes.set(0);
    hear(&core, &last_data(1, b"all")).unwrap();
    stream.finish();
    said(&core);
    app.takes.set(100);
    hear(&core, &data(1, b"more")).unwrap();
    assert_eq!(
        said_of(&core, kind::RST_STREAM),
        [(1, Reason::STREAM_CLOSED.0)]
    );
    assert_whole(&core);
    assert_eq!(app.got(), b"");
    assert_eq!(core.borrow().streams[&1].waiting, b"all");
}

#[test]
fn more_than_a_window_allows_is_refused() {
    let core = server();
    let (stream, app) = served(&core, 1);
    app.takes.set(0);
    hear(&core, &data(1, &[7; 1000])).unwrap();
    hear(&core, &data(1, &[7; 1])).unwrap();
    assert_eq!(
        said_of(&core, kind::RST_STREAM),
        [(1, Reason::FLOW_CONTROL_ERROR.0)]
    );
    assert!(matches!(broken(&stream), Some(Broken::Ended(_))));
    assert_whole(&core);
    let core = server();
    hear(&core, &request(1)).unwrap();
    core.borrow_mut().receive_window = 10;
    assert_eq!(fault(&core, &data(1, &[7; 11])), Reason::FLOW_CONTROL_ERROR);
}
