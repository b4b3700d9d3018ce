#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::Obligation::{CloseListeners, ForgetRecord, ReleaseCertificate, RemoveRules};
use super::*;

fn all_stages() -> Vec<Stage> {
    vec![
        Stage::Opening,
        Stage::Installing,
        Stage::Probing,
        Stage::AwaitingCertificate,
        Stage::Recording(Traffic::Ready),
        Stage::Recording(Traffic::Held),
        Stage::Enrolled(Traffic::Ready),
        Stage::Enrolled(Traffic::Held),
        Stage::Restoring,
        Stage::Leaving(vec![CloseListeners]),
        Stage::Gone,
    ]
}

fn all_events() -> Vec<Event> {
    vec![
        Event::ListenersOpen,
        Event::RulesInstalled,
        Event::ProbePassed,
        Event::CertificateReady,
        Event::CertificateLate,
        Event::Recorded,
        Event::Restored,
        Event::Undone,
        Event::Leave(LeaveReason::EnrolmentFailed),
        Event::Leave(LeaveReason::Deleted),
        Event::Leave(LeaveReason::NamespaceGone),
        Event::Leave(LeaveReason::Replaced),
    ]
}

#[test]
fn a_pod_gets_in_with_its_certificate() {
    let mut stage = Stage::Opening;
    for (event, expected) in [
        (Event::ListenersOpen, Stage::Installing),
        (Event::RulesInstalled, Stage::Probing),
        (Event::ProbePassed, Stage::AwaitingCertificate),
        (Event::CertificateReady, Stage::Recording(Traffic::Ready)),
        (Event::Recorded, Stage::Enrolled(Traffic::Ready)),
    ] {
        stage = stage.on(event).unwrap();
        assert_eq!(stage, expected);
    }
}

#[test]
fn a_late_certificate_holds_traffic_until_it_comes() {
    let held = Stage::AwaitingCertificate
        .on(Event::CertificateLate)
        .and_then(|stage| stage.on(Event::Recorded))
        .unwrap();
    assert_eq!(held, Stage::Enrolled(Traffic::Held));
    assert_eq!(
        held.on(Event::CertificateReady),
        Ok(Stage::Enrolled(Traffic::Ready))
    );
}

#[test]
fn a_restored_pod_is_held_until_its_certificate_is_there() {
    let stage = Stage::Restoring.on(Event::Restored).unwrap();
    assert_eq!(stage, Stage::Enrolled(Traffic::Held));
}

#[test]
fn what_is_undone_grows_with_what_was_done() {
    let failed = |stage: Stage| stage.obligations(LeaveReason::EnrolmentFailed);
    assert_eq!(failed(Stage::Opening), [CloseListeners, ReleaseCertificate]);
    for stage in [
        Stage::Installing,
        Stage::Probing,
        Stage::AwaitingCertificate,
    ] {
        assert_eq!(
            failed(stage),
            [RemoveRules, CloseListeners, ReleaseCertificate]
        );
    }
    for stage in [
        Stage::Recording(Traffic::Held),
        Stage::Enrolled(Traffic::Ready),
    ] {
        assert_eq!(
            failed(stage),
            [
                RemoveRules,
                CloseListeners,
                ReleaseCertificate,
                ForgetRecord
            ]
        );
    }
    assert_eq!(failed(Stage::Gone), []);
}

#[test]
fn rules_of_a_gone_namespace_are_not_removed() {
    for stage in all_stages() {
        assert!(
            !stage
                .obligations(LeaveReason::NamespaceGone)
                .contains(&RemoveRules)
        );
    }
}

#[test]
fn a_replaced_sandbox_leaves_the_new_ones_listeners_alone() {
    let replaced = Stage::Enrolled(Traffic::Ready).obligations(LeaveReason::Replaced);
    assert_eq!(replaced, [ReleaseCertificate, ForgetRecord]);
}

#[test]
fn obligations_are_in_order() {
    for stage in all_stages() {
        assert!(
            stage.obligations(LeaveReason::Deleted).is_sorted(),
            "{stage:?}"
        );
    }
}

#[test]
fn every_stage_can_be_left_once() {
    for stage in all_stages() {
        let left = stage.clone().on(Event::Leave(LeaveReason::Deleted));
        match stage {
            Stage::Leaving(_) | Stage::Gone => {
                assert_eq!(left.unwrap_err().stage, stage);
            }
            _ => assert_eq!(left.unwrap().on(Event::Undone), Ok(Stage::Gone)),
        }
    }
}

#[test]
fn no_other_transition_exists() {
    let mut allowed = 0;
    for stage in all_stages() {
        for event in all_events() {
            match stage.clone().on(event) {
                Ok(_) => allowed += 1,
                Err(refused) => {
                    assert_eq!(
                        refused,
                        OutOfOrder {
                            stage: stage.clone(),
                            event
                        }
                    );
                }
            }
        }
    }
    // Forward: 5 single steps, Recorded and CertificateReady from two traffic states each,
    // Restored, Undone; leaving: 4 reasons from 9 stages.
    assert_eq!(allowed, 5 + 2 + 2 + 1 + 1 + 36);
}

#[test]
fn only_what_a_restart_must_know_is_recorded() {
    let recorded: Vec<_> = all_stages()
        .into_iter()
        .filter(Stage::is_recorded)
        .collect();
    assert_eq!(recorded.len(), 5, "{recorded:?}");
    let leaving = Stage::Enrolled(Traffic::Held).on(Event::Leave(LeaveReason::Deleted));
    assert!(leaving.unwrap().is_recorded());
}
