//! What SIGTERM means: serve on for as long as it may take, for a successor if one may come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use node_agent_handover::ToWorker;

use crate::hand::overdue;
use crate::holder::{Ended, Holder};
use crate::process::{Forked, fork};
use crate::succession::Succession;
use crate::worker::Phase;

/// What a former worker has accepted has all its sockets after this time, or has failed.
const RELEASE: Duration = Duration::from_secs(30);

/// A stop that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stopping {
    /// This process is the copy that serves on; it drains at the point in time.
    Lingering(Instant),
    /// The worker ends once its connections have.
    Draining,
}

impl Stopping {
    /// When something is to be done.
    pub(crate) fn until(&self) -> Option<Instant> {
        match self {
            Self::Lingering(until) => Some(*until),
            Self::Draining => None,
        }
    }
}

impl Holder {
    pub(crate) fn obey_signals(&mut self, now: Instant) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::SIGTERM | Signal::SIGINT => self.asked_to_stop(signal.as_str(), now),
                // The ends of children are seen by their own descriptors.
                _ => {}
            }
        }
    }

    pub(crate) fn asked_to_stop(&mut self, reason: &'static str, now: Instant) {
        if self.worker.is_none() {
            tracing::info!(reason, "stopping; no worker is running");
            self.ended = Some(Ended::Drained);
            return;
        }
        if matches!(self.succession, Succession::Over) {
            tracing::info!(
                reason,
                "a successor serves; connections go on until the drain is over"
            );
            return;
        }
        match self.stopping {
            None if !self.settings.linger.is_zero() && reason == "SIGTERM" => self.linger(now),
            None | Some(Stopping::Lingering(_)) => self.drain(reason),
            Some(Stopping::Draining) => {
                tracing::warn!(
                    reason,
                    "asked again; not waiting for connections any longer"
                );
                self.retire_worker(0, true);
            }
        }
    }

    /// Lets the main process end and serves on as a copy of it.
    fn linger(&mut self, now: Instant) {
        match fork() {
            Ok(Forked::Parent(pid)) => {
                tracing::info!(
                    pid,
                    "serving on in another process until a successor takes over"
                );
                self.ended = Some(Ended::Lingering);
            }
            Ok(Forked::Child) => {
                if let Some(worker) = &mut self.worker {
                    worker.disown();
                }
                // They are the parent's children; it ends now, and they with it.
                let unanswered: Vec<u64> = self.hands.iter().map(|hand| hand.id).collect();
                self.dismiss_hands();
                for id in unanswered {
                    self.answer(id, overdue(), Vec::new());
                }
                self.stopping = Some(Stopping::Lingering(now + self.settings.linger));
            }
            Err(error) => {
                tracing::error!(%error, "cannot serve on in another process");
                self.drain("SIGTERM");
            }
        }
    }

    fn drain(&mut self, why: &'static str) {
        tracing::info!(
            reason = why, patience = ?self.settings.drain_deadline,
            "stopping; no successor is there, so connections are accepted to the end"
        );
        self.stopping = Some(Stopping::Draining);
        let patience = self.settings.drain_deadline.as_millis();
        self.retire_worker(u64::try_from(patience).unwrap_or(u64::MAX), true);
    }

    /// Tells the worker to end. Without a successor it goes on accepting until then: whoever is
    /// refused meanwhile would have been served.
    pub(crate) fn retire_worker(&mut self, patience_ms: u64, accepting: bool) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        worker.phase = Phase::Retiring;
        let retire = ToWorker::Retire {
            patience_ms,
            accepting,
        };
        let outcome = worker.tell(&retire, Vec::new());
        self.blame_worker(outcome);
    }

    pub(crate) fn stop_on_time(&mut self, now: Instant) {
        if let Some(Stopping::Lingering(until)) = self.stopping
            && until <= now
        {
            self.drain("no successor came");
        }
    }

    /// A successor serves.
    pub(crate) fn release_later(&mut self, now: Instant) {
        self.release_at = Some(now + RELEASE);
    }

    /// Pods that end while a former agent lives on must not stay behind in its descriptors. What it
    /// serves has its sockets by now.
    pub(crate) fn release_on_time(&mut self, now: Instant) {
        if self.release_at.is_none_or(|at| now < at) {
            return;
        }
        self.release_at = None;
        let kept = self.namespaces.kept().map(|kept| Arc::clone(kept.pod));
        let pods: Vec<Arc<str>> = kept.collect();
        for pod in &pods {
            self.namespaces.close(pod);
        }
        tracing::info!(
            pods = pods.len(),
            "let go of the pods; the successor has them"
        );
    }
}
