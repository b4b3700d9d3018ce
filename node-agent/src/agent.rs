//! What all parts of the running agent share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use node_agent_admin::Readiness;
use node_agent_enrollment::Roster;
use node_agent_settings::{OnMissingCertificate, Settings};
use tokio::sync::watch;

use crate::activity::Activity;
use crate::pods::Pods;
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
    stopping: AtomicBool,
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
    pub(crate) drain_deadline: Duration,
}

impl From<&Settings> for Policy {
    fn from(settings: &Settings) -> Self {
        Self {
            excluded_namespaces: settings.exclude_namespaces.clone(),
            admission_deadline: settings.admission_deadline,
            certificate_wait: settings.certificate_wait,
            on_missing_certificate: settings.on_missing_certificate,
            drain_deadline: settings.drain_deadline,
        }
    }
}

impl<W> Agent<W> {
    pub(crate) fn new(
        world: W,
        pods: Pods,
        writer: StateWriter,
        roster: watch::Receiver<Option<Arc<Roster>>>,
        readiness: Readiness,
        policy: Policy,
    ) -> Self {
        Self {
            world,
            pods,
            writer,
            roster,
            readiness,
            policy,
            activity: Activity::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// From now on no pod is enrolled, or pods are again.
    pub(crate) fn stop_enrolling(&self, stop: Stop) {
        self.stopping.store(stop == Stop::Now, Ordering::Relaxed);
    }

    /// Why no pod can be enrolled now, if so.
    pub(crate) fn not_ready(&self) -> Option<String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Some("the node agent is stopping".to_owned());
        }
        let pending = self.readiness.pending();
        (!pending.is_empty()).then(|| {
            format!(
                "the node agent is starting, pending: {}",
                pending.join(", ")
            )
        })
    }
}
