#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use super::clock::Moment;
use super::fresh::{Fresh, Step, Turn};
use super::line::Fault;
use super::steady::{End, Habit, Steady};
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const REQUEST: &str = "a request\n";
const EVERY: Duration = Duration::from_millis(1);

/// What a server does with its connection.
type Serve = fn(TcpStream);

/// A server of one connection.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    (
        to,
        thread::spawn(move || serve(listener.accept().unwrap().0)),
    )
}

fn read_request(mut stream: &TcpStream) {
    stream.read_exact(&mut [0; REQUEST.len()]).unwrap();
}

fn reset(stream: TcpStream) {
    let linger = Some(Duration::ZERO);
    SockRef::from(&stream).set_linger(linger).unwrap();
    drop(stream);
}

/// Turns it until it does not wait.
fn fate(to: SocketAddr) -> (Step, Turn) {
    let began = Moment::now().unwrap();
    let mut one = Fresh::open(to, REQUEST.into(), began).unwrap();
    loop {
        let now = Moment::now().unwrap();
        match one.turn(now) {
            Turn::Waits => assert!(now.since(began) < Duration::from_secs(10), "it hangs"),
            end => return (one.step(), end),
        }
        thread::yield_now();
    }
}

#[test]
fn an_echo_closed_in_good_order_is_the_only_success() {
    let words = |word: &str| Turn::Failed(Fault(word.to_owned()));
    let cases: [(&str, Serve, (Step, Turn)); 6] = [
        (
            "echo and FIN",
            |mut stream| {
                read_request(&stream);
                stream.write_all(REQUEST.as_bytes()).unwrap();
                assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0, "FIN");
            },
            (Step::Close, Turn::Done),
        ),
        (
            "FIN before the echo",
            |stream| {
                read_request(&stream);
                stream.shutdown(Shutdown::Write).unwrap();
                drop((&stream).read(&mut [0; 9]));
            },
            (Step::Exchange, Turn::Failed(Fault::end())),
        ),
        (
            "RST before the echo",
            |stream| {
                read_request(&stream);
                reset(stream);
            },
            (Step::Exchange, words("reset")),
        ),
        (
            "RST after the echo",
            |mut stream| {
                read_request(&stream);
                stream.write_all(REQUEST.as_bytes()).unwrap();
                assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0, "FIN");
                reset(stream);
            },
            (Step::Close, words("reset")),
        ),
        (
            "another echo",
            |mut stream| {
                read_request(&stream);
                stream.write_all(b"a reqvest\n").unwrap();
                drop(stream.read(&mut [0; 9]));
            },
            (Step::Exchange, Turn::Failed(Fault::bytes())),
        ),
        (
            "more than the echo",
            |mut stream| {
                read_request(&stream);
                stream.write_all(b"a request\nand more").unwrap();
                drop(stream.read(&mut [0; 9]));
            },
            (Step::Exchange, Turn::Failed(Fault::bytes())),
        ),
    ];
    for (what, serve, expected) in cases {
        let (to, served) = server(serve);
        assert_eq!(fate(to), expected, "{what}");
        served.join().unwrap();
    }
}

#[test]
fn nobody_there_is_a_failure_of_the_connect() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    drop(listener);
    let refused = Turn::Failed(Fault("refused".to_owned()));
    assert_eq!(fate(to), (Step::Connect, refused));
}

fn steady(to: SocketAddr, habit: Habit) -> Steady {
    Steady::open(to, "text".to_owned(), habit, Moment::now().unwrap(), EVERY).unwrap()
}

/// Ticks and turns it until it is as wanted.
fn go(one: &mut Steady, stopping: bool, wanted: impl Fn(&Steady) -> bool) {
    let began = Moment::now().unwrap();
    while !wanted(one) {
        let now = Moment::now().unwrap();
        assert!(now.since(began) < Duration::from_secs(10), "it hangs");
        one.tick(now, stopping);
        one.turn(now);
        thread::yield_now();
    }
}

#[test]
fn a_long_lived_one_talks_and_closes_after_its_last_message() {
    let (to, served) = server(|mut stream| {
        let mut copy = stream.try_clone().unwrap();
        std::io::copy(&mut copy, &mut stream).unwrap();
    });
    let mut one = steady(to, Habit::Talks);
    go(&mut one, false, |one| one.messages() == 3);
    go(&mut one, true, |one| one.end().is_some());
    assert_eq!(one.end(), Some(&End::Closed));
    served.join().unwrap();
}

#[test]
fn a_silent_one_notices_a_reset() {
    let (to, served) = server(reset);
    let mut one = steady(to, Habit::Silent);
    go(&mut one, false, |one| one.end().is_some());
    let Some(End::Broken(fault, _)) = one.end() else {
        panic!("{:?}", one.end());
    };
    assert_eq!((one.messages(), fault.0.as_str()), (0, "reset"));
    served.join().unwrap();
}

#[test]
fn a_last_message_without_an_answer_is_a_connection_that_hangs() {
    let (to, served) = server(|mut stream| {
        // Takes all, says nothing.
        drop(std::io::copy(&mut stream, &mut std::io::sink()));
    });
    let mut one = steady(to, Habit::Silent);
    go(&mut one, false, Steady::settled);
    let now = Moment::now().unwrap();
    one.tick(now, true);
    one.turn(now);
    assert_eq!(one.end(), None);
    one.give_up();
    assert_eq!(one.end(), Some(&End::Hanging));
    drop(one);
    served.join().unwrap();
}
