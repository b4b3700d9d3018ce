//! The life of one pod in the mesh, as a state machine without effects.

use crate::record::Phase;

/// Where a pod is on its way into the mesh, in it, or out of it.
///
/// Listeners come before rules, so that no captured connection finds nobody; rules come before the
/// probe, which goes through them; the record is on disk before the runtime is told that the pod
/// may start, so that a restart cannot lose a started pod.
///
/// ```text
///  Opening ──ListenersOpen──▶ Installing ──RulesInstalled──▶ Probing ──ProbePassed──┐
///                                                                                   ▼
///  Enrolled(Ready) ◀──Recorded── Recording ◀──CertificateReady── AwaitingCertificate
///  Enrolled(Held)  ◀──Recorded── Recording ◀──CertificateLate────┘
///     │  ▲
///     │  └─CertificateReady: Held becomes Ready
///     │
///  Restoring ──Restored──▶ Enrolled(Held)          (agent restarted, pod still running)
///
///  A pod that runs already is taken in by the agent alone, and nothing of its is held meanwhile:
///  the certificate comes first, and before rules go in it is on record that they may be there.
///
///  Joining(Certificate) ──CertificateReady──▶ Joining(Listeners) ──ListenersOpen──┐
///                                                                                 ▼
///  Joining(Probe) ◀──RulesInstalled── Joining(Rules) ◀──Recorded── Joining(Intent)
///     │                                    ▲
///     └─ProbePassed──▶ Joining(Record) ──Recorded──▶ Enrolled(Ready)
///                                          │
///  Joining(Rules and later), Enrolled ──Drain──▶ Draining ──Leave──▶ as below
///                                          └──Rejoin── Draining
///
///  any of these ──Leave(reason)──▶ Leaving(what to undo, in order) ──Undone──▶ Gone
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The tunnel opens listeners in the pod's namespace.
    Opening,
    /// The plugin installs the rules.
    Installing,
    /// The way through the rules to the listeners is tried.
    Probing,
    /// The certificate of the pod's identity is waited for.
    AwaitingCertificate,
    /// The pod is being written to the state that survives a restart.
    Recording(Traffic),
    /// The pod is in the mesh.
    Enrolled(Traffic),
    /// The pod was enrolled before the agent restarted, and is being taken up again.
    Restoring,
    /// The pod runs and is being taken in.
    Joining(Step),
    /// The pod runs on outside the mesh: nothing new is captured, what was captured goes on to its
    /// end.
    Draining,
    /// The pod is being taken out; holds what remains to be undone.
    Leaving(Vec<Obligation>),
    /// Nothing of the pod is left.
    Gone,
}

/// A step of taking in a pod that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The certificate is waited for; nothing of the pod is changed without one.
    Certificate,
    /// The tunnel opens listeners in the pod's namespace.
    Listeners,
    /// It is being written down that rules may be there from now on.
    Intent,
    /// Rules are put in, sparing what is open.
    Rules,
    /// The way through the rules to the listeners is tried.
    Probe,
    /// It is being written down that the pod is in.
    Record,
}

/// Whether an enrolled pod's mesh traffic can flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// There is a certificate.
    Ready,
    /// It waits for the certificate, never in clear.
    Held,
}

/// What happened to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The listeners exist.
    ListenersOpen,
    /// The rules are in the kernel.
    RulesInstalled,
    /// A connection through the rules reached the listeners.
    ProbePassed,
    /// There is a certificate.
    CertificateReady,
    /// The wait is over without a certificate, and the settings say to go on.
    CertificateLate,
    /// The pod is in the persisted state.
    Recorded,
    /// The listeners exist again and the rules are as they should be.
    Restored,
    /// The pod goes on outside the mesh, or could not be taken in while it runs.
    Drain,
    /// A pod that drains belongs to the mesh again.
    Rejoin,
    /// The pod must be taken out.
    Leave(LeaveReason),
    /// All that had to be undone is undone.
    Undone,
}

/// Why a pod is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaveReason {
    /// A step of enrolment failed, or the plugin went away before it was told the outcome.
    EnrolmentFailed,
    /// The pod runs on outside the mesh, and what was captured has ended.
    Unlabelled,
    /// The runtime said DEL, or GC no longer lists the attachment.
    Deleted,
    /// The network namespace no longer exists, so neither do the rules in it; or the pod's addresses
    /// are gone from it, and rules that lead nowhere keep closed what may still run there.
    NamespaceGone,
    /// The pod has a new sandbox, whose listeners take the place of this one's. Rules that lead
    /// nowhere stay in the dead sandbox: nothing could leave it in clear.
    Replaced,
}

/// One thing to undo. Rules that capture go before listeners, or traffic would be led to listeners
/// that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obligation {
    /// Take the rules out of the pod's namespace, as far as they are there.
    RemoveRules,
    /// Close the pod's listeners and connections.
    CloseListeners,
    /// Give up the interest in the identity's certificate.
    ReleaseCertificate,
    /// Take the pod out of the persisted state.
    ForgetRecord,
}

/// An event came that cannot come in this stage: the agent's own fault, not the operator's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event:?} cannot follow {stage:?}")]
pub struct OutOfOrder {
    /// The stage, unchanged.
    pub stage: Stage,
    /// The event.
    pub event: Event,
}

impl Step {
    /// The stage after `event`, if it can come in this step.
    fn after(self, event: Event) -> Option<Stage> {
        Some(match (self, event) {
            (Self::Certificate, Event::CertificateReady) => Stage::Joining(Self::Listeners),
            (Self::Listeners, Event::ListenersOpen) => Stage::Joining(Self::Intent),
            (Self::Intent, Event::Recorded) => Stage::Joining(Self::Rules),
            (Self::Rules, Event::RulesInstalled) => Stage::Joining(Self::Probe),
            (Self::Probe, Event::ProbePassed) => Stage::Joining(Self::Record),
            (Self::Record, Event::Recorded) => Stage::Enrolled(Traffic::Ready),
            // Rules may be there, and connections captured by them.
            (Self::Rules | Self::Probe | Self::Record, Event::Drain) => Stage::Draining,
            _ => return None,
        })
    }
}

impl Stage {
    /// The stage after `event`.
    ///
    /// # Errors
    /// [`OutOfOrder`] when the event cannot come here; the stage is given back in it.
    pub fn on(self, event: Event) -> Result<Self, OutOfOrder> {
        Ok(match (self, event) {
            (Self::Opening, Event::ListenersOpen) => Self::Installing,
            (Self::Installing, Event::RulesInstalled) => Self::Probing,
            (Self::Probing, Event::ProbePassed) => Self::AwaitingCertificate,
            (Self::AwaitingCertificate, Event::CertificateReady) => Self::Recording(Traffic::Ready),
            (Self::AwaitingCertificate, Event::CertificateLate) => Self::Recording(Traffic::Held),
            (Self::Recording(traffic), Event::Recorded) => Self::Enrolled(traffic),
            (Self::Restoring, Event::Restored) => Self::Enrolled(Traffic::Held),
            (Self::Enrolled(_), Event::CertificateReady) => Self::Enrolled(Traffic::Ready),
            (Self::Joining(step), event) if !matches!(event, Event::Leave(_)) => {
                let stage = Self::Joining(step);
                step.after(event).ok_or(OutOfOrder { stage, event })?
            }
            (Self::Enrolled(_), Event::Drain) => Self::Draining,
            (Self::Draining, Event::Rejoin) => Self::Joining(Step::Rules),
            (Self::Leaving(_), Event::Undone) => Self::Gone,
            (stage @ (Self::Leaving(_) | Self::Gone), event @ Event::Leave(_)) => {
                return Err(OutOfOrder { stage, event });
            }
            (stage, Event::Leave(reason)) => Self::Leaving(stage.obligations(reason)),
            (stage, event) => return Err(OutOfOrder { stage, event }),
        })
    }

    /// Whether the pod belongs in the state that survives a restart.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        match self {
            Self::Recording(_) | Self::Enrolled(_) | Self::Restoring | Self::Draining => true,
            Self::Joining(step) => !matches!(step, Step::Certificate | Step::Listeners),
            // A pod on its way out stays recorded until its rules and listeners are gone, so that
            // a restart in between finishes the job instead of losing it.
            Self::Leaving(obligations) => obligations.contains(&Obligation::ForgetRecord),
            _ => false,
        }
    }

    /// Whether rules capture what comes into the pod, or are about to.
    #[must_use]
    pub fn is_captured(&self) -> bool {
        match self {
            Self::Installing
            | Self::Probing
            | Self::AwaitingCertificate
            | Self::Recording(_)
            | Self::Enrolled(_)
            | Self::Restoring
            | Self::Joining(Step::Rules | Step::Probe | Step::Record) => true,
            Self::Opening
            | Self::Joining(Step::Certificate | Step::Listeners | Step::Intent)
            | Self::Draining
            | Self::Leaving(_)
            | Self::Gone => false,
        }
    }

    /// What a restart does with a pod that is recorded in this stage.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self {
            Self::Joining(Step::Record) => Phase::In,
            Self::Joining(_) | Self::Draining | Self::Leaving(_) => Phase::Out,
            _ => Phase::In,
        }
    }

    /// What must be undone when a pod leaves from this stage, in this order.
    #[must_use]
    pub fn obligations(&self, reason: LeaveReason) -> Vec<Obligation> {
        use Obligation::{CloseListeners, ForgetRecord, ReleaseCertificate, RemoveRules};
        let all: &[Obligation] = match self {
            // Opening may have failed half-way: closing what is not open is harmless.
            Self::Opening | Self::Joining(Step::Listeners) => &[CloseListeners, ReleaseCertificate],
            Self::Joining(Step::Certificate) => &[ReleaseCertificate],
            Self::Joining(Step::Intent) => &[CloseListeners, ReleaseCertificate, ForgetRecord],
            // The plugin undoes its rules too, but it may be dead.
            Self::Installing | Self::Probing | Self::AwaitingCertificate => {
                &[RemoveRules, CloseListeners, ReleaseCertificate]
            }
            Self::Recording(_)
            | Self::Enrolled(_)
            | Self::Restoring
            | Self::Joining(Step::Rules | Step::Probe | Step::Record) => &[
                RemoveRules,
                CloseListeners,
                ReleaseCertificate,
                ForgetRecord,
            ],
            // Its rules lead nothing new to the listeners. What is still captured must be cut before
            // the rules go, or the application's next bytes would leave in clear.
            Self::Draining => &[
                CloseListeners,
                RemoveRules,
                ReleaseCertificate,
                ForgetRecord,
            ],
            Self::Leaving(rest) => rest,
            Self::Gone => &[],
        };
        let spared: &[Obligation] = match reason {
            LeaveReason::EnrolmentFailed | LeaveReason::Deleted | LeaveReason::Unlabelled => &[],
            LeaveReason::NamespaceGone => &[RemoveRules],
            LeaveReason::Replaced => &[RemoveRules, CloseListeners],
        };
        let undone = all.iter().copied();
        undone
            .filter(|obligation| !spared.contains(obligation))
            .collect()
    }
}

#[cfg(test)]
mod tests;
