//! What all parts of the running agent share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use node_agent_admin::Readiness;
use node_agent_cluster::Warning;
use node_agent_enrollment::{OnUnknown, PodRef, Roster, Source};
use node_agent_settings::{OnMissingCertificate, OnUnknownPod, Settings};
use tokio::sync::{mpsc, watch};

use crate::activity::Activity;
use crate::pods::Pods;
use crate::probes::Probes;
use crate::repairs::Repairs;
use crate::state::StateWriter;

/// The running agent, as the plugin server and the restorer see it.
#[derive(Debug)]
pub(crate) struct Agent<W> {
    pub(crate) world: W,
    pub(crate) pods: Pods,
    pub(crate) writer: StateWriter,
    pub(crate) roster: watch::Receiver<Option<Arc<Roster>>>,
    pub(crate) readiness: Readiness,
    pub(crate) policy: Policy,
    /// What the agent does of its own accord.
    pub(crate) activity: Activity,
    /// The node's own probes of the pods.
    pub(crate) probes: Probes,
    /// What had to be repaired in pods.
    pub(crate) repairs: Repairs,
    stopping: AtomicBool,
    was_ready: AtomicBool,
    /// Why pods that run were not found, by name.
    unfound: watch::Sender<BTreeMap<String, String>>,
    complaints: mpsc::Sender<Warning>,
    /// Until somebody takes it.
    complained: Mutex<Option<mpsc::Receiver<Warning>>>,
}

/// Whether pods are enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Not any more.
    Now,
    /// They are, after all.
    NotAfterAll,
}

/// The settings that admission follows.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) excluded_namespaces: Vec<String>,
    pub(crate) admission_deadline: Duration,
    pub(crate) certificate_wait: Duration,
    pub(crate) on_missing_certificate: OnMissingCertificate,
    /// How long captured connections of a pod that leaves the mesh may go on.
    pub(crate) leave_deadline: Duration,
    /// How long the API server is asked about a pod that it has not told of.
    pub(crate) pod_lookup: Duration,
    /// What happens to the pod if it does not answer.
    pub(crate) on_unknown: OnUnknown,
}

impl From<&Settings> for Policy {
    fn from(settings: &Settings) -> Self {
        Self {
            excluded_namespaces: settings.exclude_namespaces.clone(),
            admission_deadline: settings.admission_deadline,
            certificate_wait: settings.certificate_wait,
            on_missing_certificate: settings.on_missing_certificate,
            leave_deadline: settings.leave_deadline,
            pod_lookup: settings.pod_lookup_timeout,
            on_unknown: match settings.on_unknown_pod {
                OnUnknownPod::Fail => OnUnknown::Fail,
                OnUnknownPod::Start => OnUnknown::Start,
            },
        }
    }
}

/// Complaints that wait to be heard.
const COMPLAINTS: usize = 256;

impl<W> Agent<W> {
    pub(crate) fn new(
        world: W,
        pods: Pods,
        writer: StateWriter,
        roster: watch::Receiver<Option<Arc<Roster>>>,
        readiness: Readiness,
        policy: Policy,
    ) -> Self {
        let (complaints, complained) = mpsc::channel(COMPLAINTS);
        Self {
            world,
            pods,
            writer,
            roster,
            readiness,
            policy,
            activity: Activity::default(),
            probes: Probes::default(),
            repairs: Repairs::default(),
            stopping: AtomicBool::new(false),
            was_ready: AtomicBool::new(false),
            unfound: watch::Sender::default(),
            complaints,
            complained: Mutex::new(Some(complained)),
        }
    }

    /// An agent for tests, which knows of no roster.
    #[cfg(test)]
    pub(crate) fn scripted(world: W, pods: Pods, writer: StateWriter) -> Self {
        let policy = Policy {
            excluded_namespaces: Vec::new(),
            admission_deadline: Duration::from_secs(5),
            certificate_wait: Duration::from_secs(1),
            on_missing_certificate: OnMissingCertificate::Hold,
            leave_deadline: Duration::from_secs(5),
            pod_lookup: Duration::from_secs(5),
            on_unknown: OnUnknown::Fail,
        };
        let (_, roster) = watch::channel(None);
        Self::new(world, pods, writer, roster, Readiness::default(), policy)
    }

    /// From now on no pod is enrolled, or pods are again.
    pub(crate) fn stop_enrolling(&self, stop: Stop) {
        self.stopping.store(stop == Stop::Now, Ordering::Relaxed);
    }

    /// Why pods that run were not found, by name.
    pub(crate) fn unfound(&self) -> BTreeMap<String, String> {
        self.unfound.borrow().clone()
    }

    /// Says so; only who looks for them may.
    pub(crate) fn tell_unfound(&self, reasons: BTreeMap<String, String>) {
        self.unfound.send_replace(reasons);
    }

    /// Says that something went wrong with a pod, for an event. Where too much does, some is lost.
    pub(crate) fn complain(&self, pod: &PodRef, reason: &'static str, note: String) {
        let warning = Warning {
            pod: pod.clone(),
            reason,
            note,
        };
        let _lost = self.complaints.try_send(warning);
    }

    /// What was complained of; only for the first who asks.
    pub(crate) fn complaints(&self) -> Option<mpsc::Receiver<Warning>> {
        // It is whole after each operation, so a panic elsewhere does not spoil it.
        let mut complained = self
            .complained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        complained.take()
    }

    /// Who says which pods there are, if anybody has said anything yet.
    pub(crate) fn source(&self) -> Option<Source> {
        self.roster.borrow().as_ref().map(|roster| roster.source())
    }

    /// Why no pod can be enrolled now, if so.
    pub(crate) fn not_ready(&self) -> Option<String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Some("the node agent is stopping".to_owned());
        }
        starting(&self.readiness.pending())
    }

    /// Why the runtime should hold all pods back, if so. It takes the whole node for unready then, so there is no reason
    /// but the first start since the node's boot: an agent that was restarted is back before pods have waited long. What
    /// keeps only pods of the mesh is none either, or the control plane that is waited for could not start here.
    pub(crate) fn serves_nobody(&self) -> Option<String> {
        if self.was_ready.load(Ordering::Relaxed) {
            return None;
        }
        starting(&self.readiness.pending_for_all())
    }

    /// Some agent of this node was ready since the node's boot.
    pub(crate) fn note_ready(&self) {
        self.was_ready.store(true, Ordering::Relaxed);
    }
}

fn starting(pending: &[&'static str]) -> Option<String> {
    (!pending.is_empty()).then(|| {
        format!(
            "the node agent is starting, pending: {}",
            pending.join(", ")
        )
    })
}
