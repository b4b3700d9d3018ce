#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::{Duration, Instant};

use node_agent_redirect::{Backend, Exemption};

use super::*;

#[test]
fn neighbours_agree_on_the_newest_they_share_and_strangers_say_what_to_do() {
    let spoken = |min, max| Spoken { min, max };
    for (ours, theirs, agreed) in [
        ((1, 2), (1, 2), Some(2)),
        ((1, 2), (1, 1), Some(1)),
        ((1, 2), (2, 3), Some(2)),
        ((1, 2), (3, 4), None),
        ((2, 3), (1, 1), None),
    ] {
        let outcome = spoken(ours.0, ours.1).common(spoken(theirs.0, theirs.1));
        assert_eq!(outcome.ok(), agreed, "{ours:?} {theirs:?}");
    }
    let text = spoken(1, 2).common(spoken(3, 4)).unwrap_err().to_string();
    assert!(text.contains("1-2") && text.contains("3-4") && text.contains("upgrade"));
    assert_eq!(SPOKEN.up_to(1), spoken(1, 1));
    assert_eq!(SPOKEN.up_to(0), spoken(1, 1));
    assert_eq!(SPOKEN.up_to(99), SPOKEN);
}

#[test]
fn the_first_deaths_are_answered_at_once_and_further_ones_ever_later() {
    let mut restarts = Restarts::default();
    let start = Instant::now();
    let at_once = |died: Restart, now| died.at == now;
    assert!(at_once(restarts.died(start, start), start));
    assert!(at_once(restarts.died(start, start), start));
    let pauses: Vec<u128> = (0..9)
        .map(|_| (restarts.died(start, start).at - start).as_millis())
        .collect();
    assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
    // One that served for a while was healthy: its death is a first one again.
    let later = start + Duration::from_secs(60);
    assert_eq!(
        restarts.died(start, later),
        Restart {
            at: later,
            in_a_row: 1
        }
    );
}

#[test]
fn messages_survive_the_wire() {
    let ask = FromWorker::Ask {
        id: 7,
        ask: Ask::Pod {
            pod: "uid".to_owned(),
            what: InPod::Make {
                ipv6: true,
                kind: Kind::Transparent,
                count: 32,
            },
        },
    };
    let packet = encode(2, &ask).unwrap();
    assert_eq!(decode::<FromWorker>(&packet).unwrap(), (2, ask));
}

#[test]
fn only_what_is_new_needs_a_new_holder() {
    let job = |job| Ask::Job { job, within_ms: 1 };
    assert_eq!(job(Job::Addresses).since(), 1);
    assert_eq!(job(Job::Locate { pods: Vec::new() }).since(), 3);
    let exempt = Job::Exempt {
        exemption: Exemption::default(),
        before: None,
        backend: None,
        otherwise: Backend::Nft,
    };
    assert_eq!(job(exempt).since(), 4);
    let path = Ask::Namespace { path: "/".into() };
    assert_eq!(path.since(), 1);
}

#[test]
fn what_is_no_message_and_what_is_too_large_is_refused() {
    for rubbish in [
        &b""[..],
        b"{",
        b"{\"version\":1}",
        b"{\"version\":1,\"message\":\"dance\"}",
    ] {
        assert!(matches!(
            decode::<ToWorker>(rubbish),
            Err(WireError::Malformed(_))
        ));
    }
    let why = "x".repeat(MAX_MESSAGE);
    assert!(matches!(
        encode(1, &FromPredecessor::Refused { why }),
        Err(WireError::TooLarge(_))
    ));
}
