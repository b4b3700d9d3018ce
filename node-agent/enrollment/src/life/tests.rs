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
        Stage::Joining(Step::Certificate),
        Stage::Joining(Step::Listeners),
        Stage::Joining(Step::Intent),
        Stage::Joining(Step::Rules),
        Stage::Joining(Step::Probe),
        Stage::Joining(Step::Record),
        Stage::Draining,
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
        Event::Drain,
        Event::Rejoin,
        Event::Leave(LeaveReason::Unlabelled),
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
fn rules_that_capture_go_first() {
    let drained = [
        CloseListeners,
        RemoveRules,
        ReleaseCertificate,
        ForgetRecord,
    ];
    assert_eq!(
        Stage::Draining.obligations(LeaveReason::Unlabelled),
        drained
    );
    for stage in all_stages() {
        if stage == Stage::Draining {
            continue;
        }
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
    // Restored, Undone. A pod that runs: 6 steps, Drain from 3 of them and from two traffic states,
    // Rejoin. Leaving: 5 reasons from 16 stages.
    assert_eq!(allowed, 5 + 2 + 2 + 1 + 1 + 6 + 5 + 1 + 80);
}

#[test]
fn only_what_a_restart_must_know_is_recorded() {
    let recorded: Vec<_> = all_stages()
        .into_iter()
        .filter(Stage::is_recorded)
        .collect();
    assert_eq!(recorded.len(), 10, "{recorded:?}");
    let leaving = Stage::Enrolled(Traffic::Held).on(Event::Leave(LeaveReason::Deleted));
    assert!(leaving.unwrap().is_recorded());
}

#[test]
fn a_running_pod_gets_in_out_and_in_again() {
    let mut stage = Stage::Joining(Step::Certificate);
    for (event, expected) in [
        (Event::CertificateReady, Stage::Joining(Step::Listeners)),
        (Event::ListenersOpen, Stage::Joining(Step::Intent)),
        (Event::Recorded, Stage::Joining(Step::Rules)),
        (Event::RulesInstalled, Stage::Joining(Step::Probe)),
        (Event::ProbePassed, Stage::Joining(Step::Record)),
        (Event::Recorded, Stage::Enrolled(Traffic::Ready)),
        (Event::Drain, Stage::Draining),
        (Event::Rejoin, Stage::Joining(Step::Rules)),
        (Event::Drain, Stage::Draining),
    ] {
        stage = stage.on(event).unwrap();
        assert_eq!(stage, expected);
    }
    let all = [
        CloseListeners,
        RemoveRules,
        ReleaseCertificate,
        ForgetRecord,
    ];
    let leaving = stage.on(Event::Leave(LeaveReason::Unlabelled)).unwrap();
    assert_eq!(leaving, Stage::Leaving(all.to_vec()));
}

/// Per step: what a failure undoes, whether a failure drains, and what a restart does.
#[test]
fn before_rules_may_be_there_it_is_on_record_that_they_may() {
    let cases: [(Step, &[Obligation], bool, Option<Phase>); 6] = [
        (Step::Certificate, &[ReleaseCertificate], false, None),
        (
            Step::Listeners,
            &[CloseListeners, ReleaseCertificate],
            false,
            None,
        ),
        (
            Step::Intent,
            &[CloseListeners, ReleaseCertificate, ForgetRecord],
            false,
            Some(Phase::Out),
        ),
        (
            Step::Rules,
            &[
                RemoveRules,
                CloseListeners,
                ReleaseCertificate,
                ForgetRecord,
            ],
            true,
            Some(Phase::Out),
        ),
        (
            Step::Probe,
            &[
                RemoveRules,
                CloseListeners,
                ReleaseCertificate,
                ForgetRecord,
            ],
            true,
            Some(Phase::Out),
        ),
        (
            Step::Record,
            &[
                RemoveRules,
                CloseListeners,
                ReleaseCertificate,
                ForgetRecord,
            ],
            true,
            Some(Phase::In),
        ),
    ];
    for (step, undone, drains, restart) in cases {
        let stage = Stage::Joining(step);
        assert_eq!(
            stage.obligations(LeaveReason::EnrolmentFailed),
            undone,
            "{step:?}"
        );
        assert_eq!(
            stage.is_recorded().then(|| stage.phase()),
            restart,
            "{step:?}"
        );
        let drained = stage.on(Event::Drain);
        assert_eq!(drained == Ok(Stage::Draining), drains, "{step:?}");
    }
    assert_eq!(Stage::Draining.phase(), Phase::Out);
    assert_eq!(Stage::Enrolled(Traffic::Held).phase(), Phase::In);
    let leaving = Stage::Leaving(vec![RemoveRules, ForgetRecord]);
    assert_eq!((leaving.is_recorded(), leaving.phase()), (true, Phase::Out));
}
