use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::identity;
use super::scripted::{HOUR, ScriptedCa, Step};
use crate::{CertificateState, CredentialSettings};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_held_certificate_is_renewed_between_45_and_50_per_cent_of_its_life() {
    let ca = ScriptedCa::new(&[], Step::Sign);
    let credentials = ca.serve();
    let web = identity("web");
    credentials.hold(web.clone());
    let first = credentials.certificate(&web).await;
    assert_eq!(first.identity, web);
    sleep(MINUTE * 26).await;
    assert_eq!(ca.count(), 1);
    sleep(MINUTE * 5).await;
    assert_eq!(ca.count(), 2);
    let second = credentials.current(&web).unwrap();
    assert_ne!(second.serial, first.serial);
    assert!(second.not_after > first.not_after);
    assert_eq!(credentials.last_error(&web), None);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_waiters_share_one_request_and_one_certificate() {
    let ca = ScriptedCa::new(&[], Step::SignAfter(Duration::from_secs(2)));
    let credentials = ca.serve();
    let web = identity("web");
    let waiters: Vec<_> = (0..100)
        .map(|_| {
            let (credentials, web) = (credentials.clone(), web.clone());
            tokio::spawn(async move { credentials.certificate(&web).await })
        })
        .collect();
    let mut got = Vec::new();
    for waiter in waiters {
        got.push(waiter.await.unwrap());
    }
    assert_eq!(ca.count(), 1);
    assert!(got.iter().all(|one| Arc::ptr_eq(one, &got[0])));
}

#[tokio::test(start_paused = true)]
async fn at_most_eight_requests_are_out_and_one_per_identity() {
    let ca = ScriptedCa::new(&[], Step::SignAfter(Duration::from_secs(1)));
    let credentials = ca.serve();
    let start = Instant::now();
    // Each twice: two pods of one identity are one request.
    for number in (0..40).chain(0..40) {
        credentials.hold(identity(&format!("sa-{number}")));
    }
    for number in 0..40 {
        let _certificate = credentials
            .certificate(&identity(&format!("sa-{number}")))
            .await;
    }
    assert_eq!(ca.peak.load(SeqCst), 8);
    assert_eq!(ca.count(), 40);
    // Five rounds of eight: the places are used fully, too.
    assert!(
        start.elapsed() < Duration::from_millis(5500),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_identity_is_asked_for_again_with_growing_pauses() {
    let ca = ScriptedCa::new(&[Step::Refuse; 6], Step::Sign);
    let credentials = ca.serve();
    let web = identity("web");
    credentials.hold(web.clone());
    sleep(Duration::from_millis(10)).await;
    let why = credentials.last_error(&web).unwrap();
    assert!(why.contains("refused: told to"), "{why}");
    assert!(credentials.current(&web).is_none());

    let _certificate = credentials.certificate(&web).await;
    assert_eq!(credentials.last_error(&web), None);
    let calls = ca.calls.lock().unwrap().clone();
    for (pair, expected) in calls.windows(2).zip([1.0_f64, 2.0, 4.0, 8.0, 15.0, 15.0]) {
        let pause = (pair[1].0 - pair[0].0).as_secs_f64();
        assert!(
            pause >= expected * 0.79 && pause <= expected * 1.21,
            "{pause} for {expected}"
        );
    }
    assert_eq!(calls.len(), 7);
}

#[tokio::test(start_paused = true)]
async fn success_resets_the_pauses() {
    let ca = ScriptedCa::new(&[Step::Refuse, Step::Refuse, Step::Refuse], Step::Sign);
    let credentials = ca.serve();
    let web = identity("web");
    credentials.hold(web.clone());
    let _certificate = credentials.certificate(&web).await;
    ca.continue_with(Step::Refuse);
    sleep(MINUTE * 30 + Duration::from_secs(3)).await;
    let calls = ca.calls.lock().unwrap().clone();
    let pause = calls[5].0 - calls[4].0;
    assert!(pause < Duration::from_millis(1300), "{pause:?}");
}

#[tokio::test(start_paused = true)]
async fn one_identitys_failures_do_not_delay_another() {
    let ca = ScriptedCa::new(&[], Step::Refuse);
    let credentials = ca.serve();
    credentials.hold(identity("web"));
    sleep(MINUTE * 10).await;
    ca.continue_with(Step::Sign);
    let other = identity("other");
    let got = timeout(Duration::from_millis(100), credentials.certificate(&other)).await;
    assert_eq!(got.unwrap().identity, other);
}

#[tokio::test(start_paused = true)]
async fn the_old_certificate_serves_until_it_expires_and_not_a_moment_longer() {
    let ca = ScriptedCa::new(&[], Step::Sign);
    let credentials = ca.serve();
    let web = identity("web");
    credentials.hold(web.clone());
    let first = credentials.certificate(&web).await;
    ca.continue_with(Step::Refuse);

    sleep(MINUTE * 59).await;
    assert!(Arc::ptr_eq(&credentials.current(&web).unwrap(), &first));
    assert!(credentials.last_error(&web).unwrap().contains("refused"));
    assert_eq!(credentials.summaries()[0].state, CertificateState::Valid);

    sleep(MINUTE).await;
    assert!(credentials.current(&web).is_none());
    assert_eq!(credentials.summaries()[0].state, CertificateState::Expired);
    let waited = timeout(Duration::from_millis(1), credentials.certificate(&web)).await;
    assert!(waited.is_err());

    ca.continue_with(Step::Sign);
    // The longest pause between requests bounds the recovery.
    let second = timeout(Duration::from_secs(151), credentials.certificate(&web))
        .await
        .unwrap();
    assert_ne!(second.serial, first.serial);
    assert_eq!(credentials.summaries()[0].state, CertificateState::Valid);
}

#[tokio::test(start_paused = true)]
async fn nobody_keeps_the_key_of_an_expired_certificate() {
    let ca = ScriptedCa::new(&[Step::Sign], Step::Refuse);
    let credentials = ca.serve();
    let web = identity("web");
    credentials.hold(web.clone());
    let weak = Arc::downgrade(&credentials.certificate(&web).await);
    sleep(HOUR + Duration::from_secs(1)).await;
    assert_eq!(weak.strong_count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stepped_calendar_is_noticed_within_a_minute() {
    let ca = ScriptedCa::new(&[], Step::Sign);
    let credentials = ca.serve();
    let web = identity("web");
    credentials.hold(web.clone());
    let first = credentials.certificate(&web).await;
    // Let the owner go to sleep first, or it would notice by accident.
    sleep(Duration::from_secs(1)).await;
    ca.clock().step(7200);
    assert!(
        credentials.current(&web).is_none(),
        "an expired certificate was handed out"
    );
    sleep(MINUTE + Duration::from_millis(10)).await;
    let second = credentials.current(&web).unwrap();
    assert_ne!(second.serial, first.serial);
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_hangs_costs_one_place_and_not_for_ever() {
    let ca = ScriptedCa::new(&[Step::Hang], Step::Sign);
    let credentials = ca.serve();
    let web = identity("web");
    credentials.hold(web.clone());
    sleep(Duration::from_secs(1)).await;
    let other = credentials.certificate(&identity("other")).await;
    assert_eq!(other.identity, identity("other"));
    assert!(credentials.current(&web).is_none());
    sleep(Duration::from_secs(9) + Duration::from_millis(10)).await;
    let why = credentials.last_error(&web).unwrap();
    assert!(why.contains("did not answer within 10s"), "{why}");
    let _certificate = credentials.certificate(&web).await;
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_panics_is_a_failed_request() {
    let ca = ScriptedCa::new(&[Step::Panic], Step::Sign);
    let credentials = ca.serve();
    let web = identity("web");
    credentials.hold(web.clone());
    sleep(Duration::from_millis(10)).await;
    assert!(credentials.last_error(&web).unwrap().contains("abandoned"));
    let _certificate = credentials.certificate(&web).await;
}

#[tokio::test(start_paused = true)]
async fn a_released_identity_lingers_and_is_then_forgotten() {
    let ca = ScriptedCa::new(&[], Step::Sign);
    let credentials = ca.serve();
    let web = identity("web");
    credentials.hold(web.clone());
    credentials.hold(web.clone());
    let weak = Arc::downgrade(&credentials.certificate(&web).await);
    credentials.release(&web);
    sleep(MINUTE * 5).await;
    assert!(credentials.current(&web).is_some(), "one hold is left");

    credentials.release(&web);
    sleep(Duration::from_secs(59)).await;
    assert!(credentials.current(&web).is_some(), "it lingers");
    credentials.hold(web.clone());
    sleep(MINUTE * 5).await;
    assert!(credentials.current(&web).is_some(), "held again in time");
    assert_eq!(ca.count(), 1, "and without a new request");

    credentials.release(&web);
    sleep(Duration::from_secs(61)).await;
    assert!(credentials.current(&web).is_none());
    assert_eq!(credentials.summaries(), []);
    assert_eq!(weak.strong_count(), 0, "the key is gone");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_holds_is_neither_renewed_nor_retried() {
    let ca = ScriptedCa::new(&[], Step::SignFor(MINUTE));
    let credentials = ca.serve_with(CredentialSettings {
        linger: HOUR,
        ..CredentialSettings::default()
    });
    let _certificate = credentials.certificate(&identity("web")).await;
    sleep(MINUTE * 5).await;
    assert_eq!(ca.count(), 1);
    ca.continue_with(Step::Refuse);
    let gave_up = timeout(
        Duration::from_millis(1),
        credentials.certificate(&identity("b")),
    )
    .await;
    assert!(gave_up.is_err());
    sleep(MINUTE * 5).await;
    assert_eq!(ca.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_leaves_no_interest_behind() {
    let ca = ScriptedCa::new(&[], Step::SignAfter(Duration::from_secs(5)));
    let credentials = ca.serve();
    let web = identity("web");
    let gave_up = timeout(Duration::from_secs(1), credentials.certificate(&web)).await;
    assert!(gave_up.is_err());
    sleep(Duration::from_secs(30)).await;
    assert_eq!(ca.count(), 1);
    assert!(
        credentials.current(&web).is_some(),
        "the request was not wasted"
    );
    sleep(Duration::from_secs(62)).await;
    assert_eq!(credentials.summaries(), []);
}

#[tokio::test(start_paused = true)]
async fn held_again_during_a_request_there_is_still_one_request() {
    let ca = ScriptedCa::new(&[], Step::SignAfter(Duration::from_secs(5)));
    let credentials = ca.serve_with(CredentialSettings {
        linger: Duration::ZERO,
        ..CredentialSettings::default()
    });
    let web = identity("web");
    credentials.hold(web.clone());
    sleep(Duration::from_secs(1)).await;
    credentials.release(&web);
    sleep(Duration::from_secs(1)).await;
    let _certificate = credentials.certificate(&web).await;
    assert_eq!(ca.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn those_without_a_certificate_go_before_renewals() {
    let settings = CredentialSettings {
        max_in_flight: 1,
        ttl: HOUR,
        ..Default::default()
    };
    let ca = ScriptedCa::new(&[], Step::Sign);
    let credentials = ca.serve_with(settings);
    for account in ["a", "b", "c"] {
        credentials.hold(identity(account));
        let _certificate = credentials.certificate(&identity(account)).await;
    }
    // The one place is taken by the first renewal, which hangs; the others come due meanwhile.
    ca.continue_with(Step::SignAfter(Duration::from_secs(9)));
    sleep(Duration::from_secs(1)).await;
    ca.clock().step(1801);
    sleep(MINUTE + Duration::from_secs(1)).await;
    let before = ca.count();
    assert_eq!(before, 4, "one renewal is out");
    credentials.hold(identity("new"));
    let _certificate = credentials.certificate(&identity("new")).await;
    let calls = ca.calls.lock().unwrap().clone();
    assert_eq!(calls[before].1, identity("new").to_string(), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn summaries_show_the_public_part_in_order() {
    let ca = ScriptedCa::new(&[], Step::Sign);
    let credentials = ca.serve();
    for account in ["b", "a"] {
        let _certificate = credentials.certificate(&identity(account)).await;
    }
    ca.continue_with(Step::Hang);
    credentials.hold(identity("c"));
    sleep(Duration::from_millis(10)).await;
    let all = credentials.summaries();
    let names: Vec<_> = all
        .iter()
        .map(|one| one.identity.service_account())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    let current = credentials.current(&identity("a")).unwrap();
    assert_eq!(all[0].serial.as_deref(), Some(current.serial.as_str()));
    assert_eq!(all[0].not_after, Some(current.not_after));
    assert!(
        all[0]
            .chain_pem
            .starts_with("-----BEGIN CERTIFICATE-----\n")
    );
    let [root] = &*all[0].roots else {
        panic!("one root: {all:?}")
    };
    assert!(root.pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(root.serial.is_some() && root.not_before < root.not_after);
    assert!(!format!("{all:?}").contains("PRIVATE"));
    assert_eq!(all[2].state, CertificateState::Pending);
    assert_eq!(all[2].chain_pem, "");
}

#[tokio::test(start_paused = true)]
async fn when_the_owner_is_gone_nobody_is_told_that_all_is_well() {
    let ca = ScriptedCa::new(&[], Step::Sign);
    let settings = CredentialSettings {
        clock: ca.clock().clone(),
        ..Default::default()
    };
    let (credentials, owner) = crate::Credentials::start(settings, ca.clone());
    drop(owner);
    let web = identity("web");
    credentials.hold(web.clone());
    assert!(
        timeout(MINUTE, credentials.certificate(&web))
            .await
            .is_err()
    );
    assert!(credentials.last_error(&web).unwrap().contains("ended"));
}

#[tokio::test(start_paused = true)]
async fn the_owner_ends_with_the_last_handle() {
    let ca = ScriptedCa::new(&[], Step::Sign);
    let settings = CredentialSettings {
        clock: ca.clock().clone(),
        ..Default::default()
    };
    let (credentials, owner) = crate::Credentials::start(settings, ca.clone());
    let owner = tokio::spawn(owner);
    credentials.hold(identity("web"));
    let weak = Arc::downgrade(&credentials.certificate(&identity("web")).await);
    drop(credentials);
    timeout(Duration::from_secs(1), owner)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(weak.strong_count(), 0);
}
