//! The life of one pod in the mesh, as a state machine without effects.

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
    /// The pod is being taken out; holds what remains to be undone.
    Leaving(Vec<Obligation>),
    /// Nothing of the pod is left.
    Gone,
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
    /// The runtime said DEL, or GC no longer lists the attachment.
    Deleted,
    /// The network namespace no longer exists, so neither do the rules in it; or the pod's addresses
    /// are gone from it, and rules that lead nowhere keep closed what may still run there.
    NamespaceGone,
    /// The pod has a new sandbox, whose listeners take the place of this one's. Rules that lead
    /// nowhere stay in the dead sandbox: nothing could leave it in clear.
    Replaced,
}

/// One thing to undo. Rules go first, or traffic would be led to listeners that are gone.
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
            Self::Recording(_) | Self::Enrolled(_) | Self::Restoring => true,
            // A pod on its way out stays recorded until its rules and listeners are gone, so that
            // a restart in between finishes the job instead of losing it.
            Self::Leaving(obligations) => obligations.contains(&Obligation::ForgetRecord),
            _ => false,
        }
    }

    /// What must be undone when a pod leaves from this stage, in this order.
    #[must_use]
    pub fn obligations(&self, reason: LeaveReason) -> Vec<Obligation> {
        use Obligation::{CloseListeners, ForgetRecord, ReleaseCertificate, RemoveRules};
        let all: &[Obligation] = match self {
            // Opening may have failed half-way: closing what is not open is harmless.
            Self::Opening => &[CloseListeners, ReleaseCertificate],
            // The plugin undoes its rules too, but it may be dead.
            Self::Installing | Self::Probing | Self::AwaitingCertificate => {
                &[RemoveRules, CloseListeners, ReleaseCertificate]
            }
            Self::Recording(_) | Self::Enrolled(_) | Self::Restoring => &[
                RemoveRules,
                CloseListeners,
                ReleaseCertificate,
                ForgetRecord,
            ],
            Self::Leaving(rest) => rest,
            Self::Gone => &[],
        };
        let spared: &[Obligation] = match reason {
            LeaveReason::EnrolmentFailed | LeaveReason::Deleted => &[],
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
