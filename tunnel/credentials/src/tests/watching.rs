//! What changes is told, and since when it stands so.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::identity;
use super::scripted::{HOUR, ScriptedCa, Step};
use crate::{CertificateState, WallClock as _};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn each_change_of_the_summaries_is_told_and_nothing_else() {
    let ca = ScriptedCa::new(&[Step::SignAfter(SECOND)], Step::Refuse);
    let credentials = ca.serve();
    let mut revision = credentials.revision();
    let web = identity("web");
    credentials.hold(web.clone());
    let mut seen = Vec::new();
    while seen.last() != Some(&(CertificateState::Expired, true)) {
        let told = timeout(2 * HOUR, revision.changed()).await;
        told.unwrap().unwrap();
        let now = credentials.summaries().remove(0);
        seen.push((now.state, now.last_error.is_some()));
    }
    // Between them the further failures of the second half of its life.
    seen.dedup();
    let expected = [
        (CertificateState::Pending, false),
        (CertificateState::Valid, false),
        (CertificateState::Valid, true),
        (CertificateState::Expired, true),
    ];
    assert_eq!(seen, expected);
    // Forgotten in the end.
    credentials.release(&web);
    while !credentials.summaries().is_empty() {
        timeout(HOUR, revision.changed()).await.unwrap().unwrap();
    }
    assert!(timeout(HOUR, revision.changed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_was_held_before_catching_up_is_seen_after_it() {
    let ca = ScriptedCa::new(&[], Step::Hang);
    let credentials = ca.serve();
    for number in 0..100 {
        credentials.hold(identity(&format!("sa-{number}")));
    }
    credentials.catch_up().await;
    assert_eq!(credentials.summaries().len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_summary_says_since_when_it_stands_so() {
    let ca = ScriptedCa::new(&[], Step::SignAfter(SECOND * 5));
    let credentials = ca.serve();
    let web = identity("web");
    let start = ca.clock().now();
    let since = || {
        credentials.summaries()[0]
            .since
            .duration_since(start)
            .unwrap()
    };
    credentials.hold(web.clone());
    sleep(SECOND * 3).await;
    assert_eq!(since(), Duration::ZERO);
    let got = credentials.certificate(&web).await;
    assert_eq!(since().as_secs(), 5);
    ca.continue_with(Step::Refuse);
    let life = got.not_after.duration_since(ca.clock().now()).unwrap();
    sleep(life + SECOND).await;
    assert!(credentials.summaries()[0].since >= got.not_after);
}

#[tokio::test(start_paused = true)]
async fn pauses_end_when_the_authority_is_believed_to_answer() {
    let ca = ScriptedCa::new(&[], Step::Refuse);
    let credentials = ca.serve();
    let web = identity("web");
    credentials.hold(web.clone());
    sleep(SECOND * 600).await;
    ca.continue_with(Step::Sign);
    credentials.ask_again();
    let got = timeout(SECOND, credentials.certificate(&web)).await;
    assert_eq!(got.unwrap().identity, web);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_out_then_is_followed_by_another_at_once() {
    let ca = ScriptedCa::new(&[Step::Hang], Step::Sign);
    let credentials = ca.serve();
    let web = identity("web");
    credentials.hold(web.clone());
    sleep(SECOND).await;
    credentials.ask_again();
    let start = Instant::now();
    let _certificate = credentials.certificate(&web).await;
    // The rest of the ten seconds that it may take, and no pause.
    assert_eq!(start.elapsed().as_secs(), 9);
    assert_eq!(ca.count(), 2);
}
