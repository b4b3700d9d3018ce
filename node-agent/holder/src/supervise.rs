//! The worker's life: its start, what it begins with, what it says, and its end.

use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use node_agent_handover::{FromWorker, Site, ToWorker};

use crate::channel::ChannelError;
use crate::holder::{Ended, Holder};
use crate::listeners::bind_site;
use crate::successor;
use crate::worker::{Phase, Worker};

/// How long a site's address may stay with a predecessor before it is tried again.
const SITE_RETRY: Duration = Duration::from_millis(200);

/// Messages heard before others get their turn.
const TURN: usize = 64;

impl Holder {
    pub(crate) fn start_worker(&mut self, now: Instant) {
        match Worker::start(&self.settings.worker, now) {
            Ok(worker) => {
                tracing::info!(pid = worker.pid(), "started the worker");
                self.worker = Some(worker);
                self.claimed.clear();
                self.welcome();
            }
            Err(error) => {
                let restart = self.restarts.died(now, now);
                self.restart_at = Some(restart.at.max(now + Duration::from_millis(100)));
                tracing::error!(%error, "cannot start the worker; it is tried again");
            }
        }
    }

    /// Gives a fresh worker what it begins with.
    fn welcome(&mut self) {
        let outcome = self.welcome_with_all();
        self.blame_worker(outcome);
    }

    fn welcome_with_all(&mut self) -> Result<(), ChannelError> {
        let plugin = self.plugin.as_ref().map(UnixListener::try_clone);
        let plugin = plugin.transpose().map_err(ChannelError::Kernel)?;
        let welcome = ToWorker::Welcome {
            plugin: plugin.is_some(),
        };
        let sites = self
            .sites
            .iter()
            .map(|(site, listener)| listener.try_clone().map(|copy| (*site, copy)))
            .collect::<io::Result<Vec<_>>>()
            .map_err(ChannelError::Kernel)?;
        let Some(worker) = &mut self.worker else {
            return Ok(());
        };
        worker.tell(&welcome, plugin.into_iter().map(Into::into).collect())?;
        for (site, listener) in sites {
            worker.tell(&ToWorker::Site { site }, vec![listener.into()])?;
        }
        self.give_door()
    }

    /// Lets the worker answer at the door when this process is gone.
    pub(crate) fn give_door(&mut self) -> Result<(), ChannelError> {
        if let (Some(worker), Some(door)) = (&mut self.worker, &self.door) {
            let copy = door.duplicate().map_err(ChannelError::Kernel)?;
            worker.tell(&ToWorker::Door, vec![copy])?;
        }
        Ok(())
    }

    pub(crate) fn bind_missing_sites(&mut self, now: Instant) {
        self.next_site = now + SITE_RETRY;
        for (site, address) in self.settings.sites.clone() {
            if self.sites.iter().any(|(have, _)| *have == site) {
                continue;
            }
            match bind_site(address) {
                Ok(listener) => self.give_site(site, listener),
                // A predecessor that does not pass it lets go of it when it ends.
                Err(error) if !std::mem::replace(&mut self.said_missing, true) => {
                    tracing::warn!(%error, "it is tried again until whoever has it lets go of it");
                }
                Err(_) => {}
            }
        }
    }

    fn give_site(&mut self, site: Site, listener: TcpListener) {
        let copy = listener.try_clone();
        self.sites.push((site, listener));
        let outcome = copy.map_err(ChannelError::Kernel).and_then(|copy| {
            let worker = self.worker.as_mut();
            let tell = |w: &mut Worker| w.tell(&ToWorker::Site { site }, vec![copy.into()]);
            worker.map_or(Ok(()), tell)
        });
        self.blame_worker(outcome);
    }

    pub(crate) fn listen_to_worker(&mut self, now: Instant) {
        for _ in 0..TURN {
            let Some(worker) = &mut self.worker else {
                return;
            };
            let outcome = worker.link.flush().and_then(|()| worker.link.receive());
            match outcome {
                Ok(None) => return,
                Ok(Some(received)) => self.hear_worker(received.message, received.fds, now),
                Err(error) => return self.blame_worker(Err(error)),
            }
        }
    }

    fn hear_worker(&mut self, message: FromWorker, fds: Vec<OwnedFd>, now: Instant) {
        match message {
            FromWorker::Ask { id, ask } => self.asked(id, ask, fds, now),
            FromWorker::Pong => {
                if let Some(worker) = &mut self.worker {
                    worker.lives(now);
                }
            }
            FromWorker::Serving => self.worker_serves(now),
            FromWorker::Quiet => self.worker_is_quiet(now),
            FromWorker::StopAsked => self.asked_to_stop("the admin interface", now),
            FromWorker::Retired { cut } => {
                tracing::info!(connections_cut = cut, "the worker has served what it had");
            }
        }
    }

    fn worker_serves(&mut self, now: Instant) {
        if let Some(worker) = &mut self.worker
            && worker.phase == Phase::Starting
        {
            worker.phase = Phase::Serving;
            let took = now.saturating_duration_since(worker.started);
            tracing::info!(pid = worker.pid(), ?took, "the worker serves");
            self.close_unclaimed();
            self.forget_at = Some(now + node_agent_confine::SETTLED);
        }
        successor::worker_serves(self, now);
    }

    /// What is left to do is little, until the next worker is started.
    pub(crate) fn forget_on_time(&mut self, now: Instant) {
        if self.forget_at.take_if(|at| *at <= now).is_some() {
            node_agent_confine::forget_program();
        }
    }

    /// Whoever calls a pod that the worker does not know, because its table was damaged or it could
    /// not bring the pod back, is refused instead of waiting for nobody.
    fn close_unclaimed(&mut self) {
        let kept = self.namespaces.kept().map(|kept| Arc::clone(kept.pod));
        let unclaimed: Vec<_> = kept.filter(|pod| !self.claimed.contains(pod)).collect();
        for pod in unclaimed {
            tracing::warn!(%pod, "the worker does not know this pod; its listeners are closed");
            self.namespaces.close(&pod);
        }
    }

    pub(crate) fn watch_worker(&mut self, now: Instant) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        match worker.watch(now) {
            Ok(Some(silent)) if silent >= self.settings.worker_deadline => {
                tracing::error!(
                    pid = worker.pid(),
                    ?silent,
                    "the worker hangs; it is replaced"
                );
                worker.kill();
                // Not killed again before its end is seen.
                worker.lives(now);
            }
            Ok(_) => {}
            Err(error) => self.blame_worker(Err(error)),
        }
    }

    /// A worker that cannot be spoken to is of no use; its end is then seen as any other.
    pub(crate) fn blame_worker(&mut self, outcome: Result<(), ChannelError>) {
        let Err(error) = outcome else { return };
        let Some(worker) = &self.worker else { return };
        if worker.phase == Phase::Retiring && matches!(error, ChannelError::Gone) {
            // It is on its way out; should it hang there, the missing signs of life say so.
            return;
        }
        if !matches!(error, ChannelError::Gone) {
            tracing::error!(%error, pid = worker.pid(), "cannot speak to the worker");
        }
        worker.kill();
    }

    pub(crate) fn bury_worker(&mut self, now: Instant) {
        // What it said last is still to be read.
        self.listen_to_worker(now);
        let Some(worker) = self.worker.take() else {
            return;
        };
        let (pid, started, phase) = (worker.pid(), worker.started, worker.phase);
        let status = worker.ended();
        self.dismiss_hands();
        self.waiting.clear();
        if phase == Phase::Retiring {
            tracing::info!(pid, status, "the worker has ended");
            self.ended = Some(Ended::Drained);
            return;
        }
        let restart = self.restarts.died(started, now);
        let pause = restart.at.saturating_duration_since(now);
        tracing::error!(
            pid,
            status,
            in_a_row = restart.in_a_row,
            ?pause,
            "the worker died: its connections are reset, new ones wait; another is started"
        );
        if self.worker_died(now) {
            self.restart_at = Some(restart.at);
        }
    }

    /// A worker is to be started unless that is planned already.
    pub(crate) fn need_worker(&mut self) {
        self.restart_at.get_or_insert_with(Instant::now);
    }
}
