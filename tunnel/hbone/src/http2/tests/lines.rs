//! Who waits for room is woken when there is some, and the driver when there is something to send.

use super::super::send::Sent;
use super::*;

/// Sends as much as there is room for, at most so much.
fn send(stream: &Handle, most: usize) -> Sent {
    stream
        .send(most, |rooms| Ok(rooms.iter().map(|room| room.len()).sum()))
        .unwrap()
}

/// Streams of a server that can all send, and whose connection's window is used up.
fn blocked(core: &Shared, count: u32) -> Vec<(Handle, Arc<Woken>)> {
    hear(core, &setting(4, 1 << 20)).unwrap();
    let streams: Vec<_> = (0..count)
        .map(|n| {
            let (stream, _app) = served(core, 2 * n + 1);
            let woken = watched(&stream);
            (stream, woken)
        })
        .collect();
    while let Sent::Bytes(_) = send(&streams[0].0, usize::MAX) {
        said(core);
    }
    assert_eq!(core.borrow().send_window, 0);
    for (stream, woken) in &streams {
        assert!(matches!(send(stream, 1), Sent::NoRoom));
        woken.take();
    }
    streams
}

fn woken(streams: &[(Handle, Arc<Woken>)]) -> Vec<usize> {
    streams.iter().map(|(_, woken)| woken.take()).collect()
}

#[test]
fn each_stream_wakes_the_next_when_its_turn_is_over() {
    let core = server();
    let streams = blocked(&core, 3);
    hear(&core, &update(0, 100)).unwrap();
    assert_eq!(woken(&streams), [1, 0, 0]);
    assert!(matches!(send(&streams[0].0, 40), Sent::Bytes(40)));
    streams[0].0.pass_on();
    assert_eq!(woken(&streams), [0, 1, 0]);
    // The second uses up the rest, and wants more.
    assert!(matches!(send(&streams[1].0, 1000), Sent::Bytes(60)));
    assert!(matches!(send(&streams[1].0, 1000), Sent::NoRoom));
    streams[1].0.pass_on();
    assert_eq!(woken(&streams), [0, 0, 0]);
    hear(&core, &update(0, 100)).unwrap();
    assert_eq!(woken(&streams), [0, 0, 1]);
    streams[2].0.pass_on();
    assert_eq!(woken(&streams), [0, 1, 0]);
}

#[test]
fn a_stream_that_goes_or_cannot_use_its_turn_passes_it_on() {
    let core = server();
    let mut streams = blocked(&core, 4);
    hear(&core, &update(0, 100)).unwrap();
    assert_eq!(woken(&streams), [1, 0, 0, 0]);
    // Dropped with its turn.
    streams.remove(0);
    assert_eq!(woken(&streams), [1, 0, 0]);
    // Its own window is shut.
    core.borrow_mut().streams.get_mut(&3).unwrap().send_window = 0;
    assert!(matches!(send(&streams[0].0, 1), Sent::NoRoom));
    streams[0].0.pass_on();
    assert_eq!(woken(&streams), [0, 1, 0]);
    streams.remove(1);
    assert_eq!(woken(&streams), [0, 1]);
    hear(&core, &update(3, 1)).unwrap();
    assert_eq!(woken(&streams), [1, 0]);
}

#[test]
fn a_stream_that_sends_no_more_gets_no_turn() {
    let core = server();
    let streams = blocked(&core, 4);
    hear(&core, &reset(1, Reason::REFUSED_STREAM)).unwrap();
    hear(&core, &reset(3, Reason::NO_ERROR)).unwrap();
    assert_eq!(woken(&streams), [1, 1, 0, 0]);
    // Whoever had them may not come back for a while.
    hear(&core, &update(0, 100)).unwrap();
    assert_eq!(woken(&streams), [0, 0, 1, 0]);
}

#[test]
fn streams_that_have_gone_leave_nothing_in_the_line() {
    let core = server();
    let mut streams = blocked(&core, 4);
    streams.truncate(1);
    assert_eq!(core.borrow().blocked, [1]);
}

#[test]
fn room_in_what_is_gathered_is_granted_when_it_was_sent() {
    let core = server();
    hear(&core, &[setting(4, 1 << 30), update(0, 1 << 30)].concat()).unwrap();
    let (stream, _app) = served(&core, 1);
    let woken = watched(&stream);
    while let Sent::Bytes(_) = send(&stream, usize::MAX) {}
    core.borrow_mut().grant();
    assert_eq!(woken.take(), 0);
    said(&core);
    core.borrow_mut().grant();
    assert_eq!(woken.take(), 1);
    assert!(matches!(send(&stream, 10), Sent::Bytes(10)));
}

#[test]
fn a_window_below_zero_wakes_nobody_until_it_is_open() {
    let core = server();
    let (stream, _app) = served(&core, 1);
    let woken = watched(&stream);
    assert!(matches!(send(&stream, 10_000), Sent::Bytes(10_000)));
    hear(&core, &setting(4, 100)).unwrap();
    assert_eq!(core.borrow().streams[&1].send_window, 100 - 10_000);
    assert!(matches!(send(&stream, 1), Sent::NoRoom));
    hear(&core, &setting(4, 200)).unwrap();
    assert_eq!(woken.take(), 0);
    hear(&core, &setting(4, 10_001)).unwrap();
    assert_eq!(woken.take(), 1);
    assert!(matches!(send(&stream, 100), Sent::Bytes(1)));
    hear(&core, &update(1, 5)).unwrap();
    assert_eq!(woken.take(), 1);
    assert!(matches!(send(&stream, 100), Sent::Bytes(5)));
}

#[test]
fn no_frame_is_larger_than_the_peer_takes() {
    let core = server();
    let (stream, _app) = served(&core, 1);
    assert!(matches!(send(&stream, usize::MAX), Sent::Bytes(16_384)));
    hear(&core, &setting(5, 20_000)).unwrap();
    said(&core);
    assert!(matches!(send(&stream, usize::MAX), Sent::Bytes(20_000)));
    hear(&core, &setting(5, 16_384)).unwrap();
    said(&core);
    assert!(matches!(send(&stream, usize::MAX), Sent::Bytes(16_384)));
}

#[test]
fn the_driver_is_woken_once_for_whatever_there_is_to_send() {
    let core = server();
    let driver = Arc::new(Woken::default());
    let waker = Arc::clone(&driver).into();
    let turn = |work: &dyn Fn()| {
        core.borrow_mut().begin_turn(&Context::from_waker(&waker));
        said(&core);
        core.borrow_mut().open_gates();
        core.borrow_mut().end_turn();
        assert_eq!(driver.take(), 0);
        work();
        driver.take()
    };
    hear(
        &core,
        &[request(1), request(3), request(5), request(7)].concat(),
    )
    .unwrap();
    let [a, b, c, d] = std::array::from_fn(|_| taken(&core));
    assert_eq!(turn(&|| a.accept(None).unwrap()), 1);
    let app = App::new(0);
    a.attach(Rc::clone(&app) as Rc<dyn Sink>);
    hear(&core, &data(1, &[7; 600])).unwrap();
    let sends = || assert!(matches!(send(&a, 10), Sent::Bytes(10)));
    assert_eq!(turn(&sends), 1);
    assert_eq!(turn(&|| assert_eq!(a.send_kept(b"kept"), 4)), 1);
    assert_eq!(
        turn(&|| {
            app.takes.set(1000);
            let give = |pieces: &[IoSlice<'_>]| std::task::Poll::Ready(app.give(pieces));
            assert!(a.poll_down(&mut 1000, give).is_pending());
        }),
        1
    );
    assert_eq!(said_of(&core, kind::WINDOW_UPDATE), [(1, 600)]);
    assert_eq!(turn(&|| a.finish()), 1);
    assert_eq!(turn(&|| a.finish()), 0);
    let b = Cell::new(Some(b));
    assert_eq!(turn(&|| drop(b.take())), 1);
    let c = Cell::new(Some(c));
    let refuse = || c.take().unwrap().refuse(http::StatusCode::FORBIDDEN);
    assert_eq!(turn(&refuse), 1);
    drop(d);
}

#[test]
fn a_pump_is_woken_for_what_the_application_did_not_take_and_for_the_end() {
    let core = server();
    let (stream, app) = served(&core, 1);
    let woken = watched(&stream);
    hear(&core, &data(1, b"taken")).unwrap();
    assert_eq!(woken.take(), 0);
    app.takes.set(1);
    hear(&core, &data(1, b"not taken")).unwrap();
    assert_eq!(woken.take(), 1);
    hear(&core, &last_data(1, b"")).unwrap();
    assert_eq!(woken.take(), 1);
}

#[test]
fn the_driver_is_woken_for_the_connections_window_alone() {
    let limits = Limits {
        stream_window: 80_000,
        tunnel_window: 100_000,
        ..limits()
    };
    let core = server_with(&limits);
    let (stream, app) = served(&core, 1);
    app.takes.set(0);
    hear(&core, &last_data(1, &vec![7; 60_000])).unwrap();
    let driver = Arc::new(Woken::default());
    let waker = Arc::clone(&driver).into();
    core.borrow_mut().begin_turn(&Context::from_waker(&waker));
    core.borrow_mut().end_turn();
    app.takes.set(60_000);
    let give = |pieces: &[IoSlice<'_>]| std::task::Poll::Ready(app.give(pieces));
    assert!(stream.poll_down(&mut 100_000, give).is_ready());
    assert_eq!(driver.take(), 1);
    assert_eq!(said_of(&core, kind::WINDOW_UPDATE), [(0, 60_000)]);
}
