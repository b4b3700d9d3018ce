#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "tests"
)]
use super::order::{Bulk, Direction, Exchanges, Order, Plan};
use super::pace::Pace;
use super::times::{Times, per_second, percentile};
use super::{bulk, exchange};
use crate::result::Tally;
use crate::sessions::{Kind, Server, serve};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

fn parse(text: &str) -> anyhow::Result<Order> {
    let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
    let (verb, rest) = words.split_first().unwrap();
    Order::parse(verb, rest)
}

fn mistake(text: &str) -> String {
    format!("{:#}", parse(text).err().unwrap())
}

/// A server of the real kind, for as many connections as come.
fn server(kind: Kind) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (kind, stream) = (kind.clone(), stream.unwrap());
            let server = Server {
                host: String::new(),
                banner: String::new(),
            };
            thread::spawn(move || serve(&kind, &server, stream).unwrap());
        }
    });
    to
}

#[test]
fn percentiles_are_of_the_nearest_rank() {
    let times: Vec<Duration> = (1..=1000).map(Duration::from_micros).collect();
    assert_eq!(percentile(&times, 500), Some(Duration::from_micros(500)));
    assert_eq!(percentile(&times, 990), Some(Duration::from_micros(990)));
    assert_eq!(percentile(&times, 999), Some(Duration::from_micros(999)));
    let few = &times[..3];
    assert_eq!(percentile(few, 500), Some(Duration::from_micros(2)));
    assert_eq!(percentile(few, 999), Some(Duration::from_micros(3)));
    assert_eq!(percentile(&[], 500), None);
    assert!((per_second(300, 2.0) - 150.0).abs() < 1e-9);
}

#[test]
fn without_a_rate_the_next_is_due_now_until_the_time_is_over() {
    let began = Instant::now();
    let pace = Pace::new(began, SECOND, None);
    assert_eq!(pace.next(began), Some(began));
    assert_eq!(pace.next(began + SECOND), None);
    pace.judge(0).unwrap();
}

#[test]
fn a_rate_does_not_wait_for_anybody() {
    let began = Instant::now();
    let pace = Pace::new(began, SECOND, Some(4));
    // All are asked for late, and each is due when it was due.
    let late = began + Duration::from_millis(900);
    let due: Vec<_> = (0..6).map(|_| pace.next(late)).collect();
    let at = |millis| Some(began + Duration::from_millis(millis));
    assert_eq!(due, [at(0), at(250), at(500), at(750), None, None]);
}

#[test]
fn what_a_server_cannot_keep_up_with_is_an_error_and_not_a_figure() {
    let began = Instant::now();
    let pace = Pace::new(began, SECOND, Some(4));
    assert_eq!(pace.next(began + 4 * SECOND), None, "much too late");
    pace.judge(4).unwrap();
    let error = pace.judge(3).unwrap_err().to_string();
    assert!(error.contains("only 3 of 4"), "{error}");
    assert!(error.contains("lower --rate"), "{error}");
}

#[test]
fn times_count_from_when_it_was_due() {
    // Due all at once, one after the other: the third has waited for two others.
    let began = Instant::now();
    let pace = Pace::new(began, SECOND, Some(100_000));
    let mut made = 0;
    let times = Times::of(&pace, || {
        made += 1;
        if made == 3 {
            anyhow::bail!("enough");
        }
        thread::sleep(Duration::from_millis(5));
        Ok(Instant::now())
    });
    assert_eq!(times.unwrap_err().to_string(), "enough");
    let pace = Pace::new(began, SECOND, Some(3));
    let late = Times::of(&pace, || Ok(began + SECOND)).unwrap();
    let mut tally = Tally::default();
    assert_eq!(late.count(), 3);
    late.note(began, &mut tally);
    assert_eq!(
        tally.noted("p50_us"),
        666_666.7,
        "due at a third of a second"
    );
    assert_eq!(tally.noted("p999_us"), 1_000_000.0);
}

#[test]
fn orders_are_read() {
    let order = parse("bulk --to 10.0.0.1:7000 --connections 4 --direction down --seconds 2");
    let plan = Plan::Bulk(Bulk {
        connections: 4,
        direction: Direction::Down,
        lasting: 2 * SECOND,
    });
    assert_eq!(order.unwrap().plan, plan);
    let order = parse("requests --to [::1]:7 --connections 8 --rate 1000 --size 64");
    let plan = Plan::Requests(Exchanges {
        width: 8,
        size: 64,
        lasting: 3 * SECOND,
        rate: Some(1000),
    });
    assert_eq!(order.unwrap().plan, plan);
    let Plan::Connects(plan) = parse("connects --to 10.0.0.1:7 --in-flight 64")
        .unwrap()
        .plan
    else {
        panic!("not connects");
    };
    assert_eq!((plan.width, plan.size, plan.rate), (64, 128, None));
}

#[test]
fn a_mistake_is_answered_with_what_to_do() {
    for (text, hint) in [
        ("bulk", "--to is missing"),
        ("bulk --to server:80", "give IP:PORT"),
        ("bulk --to 10.0.0.1:7 --direction left", "say up or down"),
        ("bulk --to 10.0.0.1:7 --connections 0", "from 1 to 2048"),
        ("bulk --to 10.0.0.1:7 --connections many", "from 1 to 2048"),
        ("bulk --to 10.0.0.1:7 --rate 5", "--rate is not known here"),
        ("bulk --to 10.0.0.1:7 --seconds", "--seconds needs a value"),
        ("requests --to 10.0.0.1:7 --size 70000", "from 1 to 65536"),
        ("connects --to 10.0.0.1:7 --seconds 301", "from 1 to 300"),
        (
            "speed --to 10.0.0.1:7",
            "say bulk, requests, connects or idle",
        ),
    ] {
        let error = mistake(text);
        assert!(error.contains(hint), "{text}: {error}");
    }
}

#[test]
fn what_arrives_is_counted_in_both_directions() {
    let to = server(Kind::Bulk);
    for direction in ["up", "down"] {
        let order = parse(&format!(
            "bulk --to {to} --connections 2 --seconds 1 --direction {direction}"
        ));
        let Order {
            target,
            plan: Plan::Bulk(plan),
        } = order.unwrap()
        else {
            panic!("not bulk");
        };
        let mut tally = Tally::default();
        bulk::run(&target, &plan, &mut tally).unwrap();
        let (bytes, seconds) = (tally.noted("bytes"), tally.noted("seconds"));
        assert!(bytes > 0.0 && seconds >= 0.9, "{bytes} in {seconds}");
        let rate = tally.noted("gbit_per_s");
        assert!((rate - bytes * 8.0 / seconds / 1e9).abs() < 1e-6, "{rate}");
    }
}

#[test]
fn requests_and_connections_at_a_rate_are_as_many_as_were_due() {
    let to = server(Kind::Echo);
    for (verb, what) in [
        ("requests --connections", "requests"),
        ("connects --in-flight", "connections"),
    ] {
        let order = parse(&format!("{verb} 3 --to {to} --seconds 1 --rate 50")).unwrap();
        let mut tally = Tally::default();
        match &order.plan {
            Plan::Requests(plan) => exchange::requests(&order.target, plan, &mut tally).unwrap(),
            Plan::Connects(plan) => exchange::connects(&order.target, plan, &mut tally).unwrap(),
            other => panic!("{other:?}"),
        }
        assert_eq!(tally.noted(what), 50.0);
        assert!(tally.noted("p99_us") > 0.0);
    }
}

#[test]
fn a_server_that_is_not_there_gives_no_figure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    drop(listener);
    let order = parse(&format!("connects --to {to} --seconds 1")).unwrap();
    let Plan::Connects(plan) = &order.plan else {
        panic!("not connects");
    };
    let outcome = exchange::connects(&order.target, plan, &mut Tally::default());
    let error = format!("{:#}", outcome.unwrap_err());
    assert!(
        error.starts_with("the first connection: connect"),
        "{error}"
    );
}
