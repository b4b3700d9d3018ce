#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use node_agent_redirect::{Backend, RedirectPlan};

use super::*;
use crate::{Decoder, PodRef, encode};

fn through_the_wire<M: Serialize>(version: u16, message: &M) -> Frame {
    let mut decoder = Decoder::new();
    decoder.push(&encode(version, message).unwrap()).unwrap();
    decoder.next_frame().unwrap().unwrap()
}

fn raw(version: u16, body: &str) -> Frame {
    Frame {
        version,
        body: body.as_bytes().to_vec(),
    }
}

fn upgrade(which: Side, min: u16, max: u16) -> Upgrade {
    Upgrade { which, min, max }
}

fn add() -> Request {
    Request::Add(crate::AddRequest {
        plugin_version: "0.1.0".into(),
        container_id: "c1".into(),
        netns: "/run/netns/x".into(),
        ifname: "eth0".into(),
        pod: PodRef {
            name: "web-0".into(),
            namespace: "shop".into(),
            uid: Some("u".into()),
        },
        addresses: vec!["10.0.0.5/24".into(), "fd00::5/64".into()],
        deadline_ms: 20_000,
    })
}

#[test]
fn messages_come_out_as_they_went_in() {
    for request in [
        add(),
        Request::Status,
        Request::Gc(crate::GcRequest::default()),
    ] {
        assert_eq!(
            read_request(&through_the_wire(1, &request), SPOKEN).unwrap(),
            request
        );
    }
    let failed = crate::Failure {
        code: 11,
        message: "no certificate".into(),
        details: String::new(),
        retry: true,
    };
    let plan = RedirectPlan::new(Backend::Nft);
    for reply in [
        Reply::Install { plan: plan.clone() },
        Reply::Done {
            was_enrolled: true,
            plan: Some(plan),
        },
        Reply::NotInMesh {
            reason: "excluded".into(),
        },
        Reply::Admitted {
            certificate: crate::CertificateState::Held,
        },
        Reply::Done {
            was_enrolled: false,
            plan: None,
        },
        Reply::Checked {
            plan: None,
            problems: vec!["listener 15001 is gone".into()],
        },
        Reply::Failed(failed),
    ] {
        assert_eq!(
            read_reply(&through_the_wire(1, &reply), SPOKEN).unwrap(),
            reply
        );
    }
    let report = Report::Installed { took_micros: 7 };
    assert_eq!(
        read_report(&through_the_wire(1, &report), SPOKEN).unwrap(),
        report
    );
}

/// A later plugin of the same protocol version may say more, and an earlier one less.
#[test]
fn unknown_members_are_ignored_and_optional_ones_may_be_missing() {
    let body = r#"{"add":{"container_id":"c","netns":"/n","ifname":"eth0","deadline_ms":5,
        "pod":{"name":"a","namespace":"b","colour":"blue"},"later":{"x":1}}}"#;
    let Request::Add(request) = read_request(&raw(1, body), SPOKEN).unwrap() else {
        panic!("not an ADD");
    };
    assert_eq!((request.pod.uid, request.addresses.len()), (None, 0));
}

#[test]
fn the_agent_names_the_older_side() {
    let spoken = Spoken { min: 2, max: 3 };
    assert_eq!(spoken.accept(2), Ok(()));
    assert_eq!(spoken.accept(3), Ok(()));
    assert_eq!(spoken.accept(4), Err(upgrade(Side::Agent, 2, 3)));
    assert_eq!(spoken.accept(1), Err(upgrade(Side::Plugin, 2, 3)));
    let error = read_request(&through_the_wire(4, &Request::Status), spoken).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the peer speaks version 4 of the plugin protocol, this side 2-3: upgrade the node agent"
    );
}

#[test]
fn the_plugin_falls_back_to_the_newest_common_version() {
    let ours = Spoken { min: 2, max: 5 };
    assert_eq!(ours.common(upgrade(Side::Agent, 1, 3)), Some(3));
    assert_eq!(ours.common(upgrade(Side::Agent, 2, 2)), Some(2));
    assert_eq!(ours.common(upgrade(Side::Plugin, 4, 9)), Some(5));
    assert_eq!(ours.common(upgrade(Side::Agent, 1, 1)), None);
    assert_eq!(ours.common(upgrade(Side::Plugin, 6, 9)), None);
    // An answer that contradicts itself is not obeyed.
    assert_eq!(ours.common(upgrade(Side::Plugin, 4, 3)), None);
}

#[test]
fn an_upgrade_is_understood_in_any_version_and_nothing_else_is() {
    let answer = Reply::Upgrade(upgrade(Side::Plugin, 8, 9));
    assert_eq!(
        read_reply(&through_the_wire(9, &answer), SPOKEN).unwrap(),
        answer
    );
    assert_eq!(
        through_the_wire(9, &answer).body,
        br#"{"upgrade":{"which":"plugin","min":8,"max":9}}"#,
        "older plugins know this shape and no other"
    );
    let newer = read_reply(&through_the_wire(9, &Reply::Ready), SPOKEN).unwrap_err();
    assert!(
        newer.to_string().ends_with("upgrade the CNI plugin"),
        "{newer}"
    );
    let older = read_reply(&through_the_wire(0, &Reply::Ready), SPOKEN).unwrap_err();
    assert!(
        older.to_string().ends_with("upgrade the node agent"),
        "{older}"
    );
}

#[test]
fn bodies_that_are_no_messages_say_why() {
    for body in [
        "",
        "{",
        "null",
        "[]",
        "{\"add\":{}}",
        "{\"later\":{}}",
        "\"statusx\"",
        "\u{0}",
    ] {
        let error = read_request(&raw(1, body), SPOKEN).unwrap_err();
        assert!(
            matches!(
                error,
                MessageError::Malformed {
                    expected: "request",
                    ..
                }
            ),
            "{body}"
        );
    }
    let nested = "[".repeat(60_000);
    assert!(matches!(
        read_reply(&raw(1, &nested), SPOKEN),
        Err(MessageError::Malformed { .. })
    ));
}
