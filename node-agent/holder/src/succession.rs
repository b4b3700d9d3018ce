//! The predecessor's side of an upgrade: passes everything on, then lets its worker retire.
//!
//! ```text
//!  None ──Hello──► Quietening ──worker is quiet──► Passed ──Serving──► Over ──worker ends──► end
//!    ▲                 │ late                         │ late, or the successor is gone
//!    └─────Resume──────┴──────────────────────────────┘
//! ```

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use node_agent_handover::{FromPredecessor, FromSuccessor, Kept, ToWorker};

use crate::channel::{Channel, ChannelError};
use crate::holder::{Ended, Holder};
use crate::worker::Phase;

/// Somebody who asks at the door must say what for within this time.
const HELLO: Duration = Duration::from_secs(5);
/// The worker must become quiet within this time: conversations with the plugin end before.
const QUIET: Duration = Duration::from_secs(30);
/// A successor must serve within this time.
const SERVING: Duration = Duration::from_secs(120);
/// At most this many may ask at the same time.
const CALLERS: usize = 8;

/// Somebody who asks at the door.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) channel: Channel,
    pub(crate) until: Instant,
    /// To be forgotten.
    pub(crate) over: bool,
    /// The version agreed on, once it said Hello and was not refused.
    version: Option<u16>,
}

/// How far an upgrade is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Succession {
    /// Nobody asks.
    None,
    /// The worker was told to become quiet.
    Quietening(Instant),
    /// The successor has everything and prepares.
    Passed(Instant),
    /// The successor serves.
    Over,
}

impl Succession {
    pub(crate) fn until(self) -> Option<Instant> {
        match self {
            Self::Quietening(until) | Self::Passed(until) => Some(until),
            Self::None | Self::Over => None,
        }
    }
}

impl Holder {
    /// Lets in whoever asks at the door.
    pub(crate) fn greet(&mut self, now: Instant) {
        let Some(door) = &self.door else { return };
        match door.accept() {
            Ok(Some(_)) if self.callers.len() >= CALLERS => {
                tracing::warn!("too many ask at the holder's socket; one is turned away");
            }
            Ok(Some(socket)) => self.callers.push(Caller {
                channel: Channel::new(socket, self.settings.spoken.min),
                until: now + HELLO,
                over: false,
                version: None,
            }),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "cannot hear who asks at the holder's socket"),
        }
    }

    pub(crate) fn hear_caller(&mut self, index: usize, now: Instant) {
        let Some(caller) = self.callers.get_mut(index) else {
            return;
        };
        let heard = caller
            .channel
            .flush()
            .and_then(|()| caller.channel.receive());
        match heard {
            Ok(None) => {}
            Ok(Some(received)) => match received.message {
                FromSuccessor::Hello { spoken, build } => match self.settings.spoken.common(spoken)
                {
                    Ok(version) => self.hello(index, version, &build, now),
                    Err(mismatch) => self.refuse(index, mismatch.to_string()),
                },
                FromSuccessor::Serving => self.successor_serves(index, now),
            },
            Err(error) => self.caller_gone(index, &error),
        }
    }

    fn hello(&mut self, index: usize, version: u16, build: &str, now: Instant) {
        if self.succession != Succession::None || self.predecessor.is_some() {
            let why = "another upgrade is under way; try again in a moment";
            return self.refuse(index, why.to_owned());
        }
        let Some(caller) = self.callers.get_mut(index) else {
            return;
        };
        tracing::info!(build, version, "a successor asks to take over");
        caller.version = Some(version);
        caller.channel.set_version(version);
        caller.until = now + QUIET + SERVING;
        self.succession = Succession::Quietening(now + QUIET);
        let serving = |phase| matches!(phase, Phase::Starting | Phase::Serving | Phase::Retiring);
        match &mut self.worker {
            Some(worker) if serving(worker.phase) => {
                let outcome = worker.tell(&ToWorker::Quieten, Vec::new());
                self.blame_worker(outcome);
            }
            // Nobody enrols pods who would have to stop.
            _ => self.pass_everything(now),
        }
    }

    pub(crate) fn worker_is_quiet(&mut self, now: Instant) {
        if let Some(worker) = &mut self.worker
            && worker.phase != Phase::Retiring
        {
            worker.phase = Phase::Quiet;
        }
        if matches!(self.succession, Succession::Quietening(_)) {
            self.pass_everything(now);
        }
    }

    fn heir(&mut self) -> Option<&mut Caller> {
        let heir = |caller: &&mut Caller| caller.version.is_some() && !caller.over;
        self.callers.iter_mut().find(heir)
    }

    fn pass_everything(&mut self, now: Instant) {
        let Some(version) = self.heir().and_then(|heir| heir.version) else {
            return self.resume("the successor is gone");
        };
        let passed = self.everything(version).and_then(|all| {
            let build = self.settings.build.clone();
            let heir = self.heir().ok_or(ChannelError::Gone)?;
            let welcome = FromPredecessor::Welcome {
                version,
                build,
                orphan: None,
            };
            heir.channel.send(&welcome, Vec::new())?;
            for (kept, fds) in all {
                heir.channel.send(&FromPredecessor::Kept(kept), fds)?;
            }
            heir.channel.send(&FromPredecessor::All, Vec::new())
        });
        match passed {
            Ok(()) => self.succession = Succession::Passed(now + SERVING),
            Err(error) => {
                tracing::error!(%error, "cannot pass what is kept to the successor");
                if let Some(heir) = self.heir() {
                    heir.over = true;
                }
                self.resume("it could not be passed on");
            }
        }
    }

    fn everything(&self, version: u16) -> Result<Vec<(Kept, Vec<OwnedFd>)>, ChannelError> {
        let kernel = ChannelError::Kernel;
        let mut all = Vec::new();
        if let (Some(plugin), Some(path)) = (&self.plugin, &self.settings.plugin) {
            let kept = Kept::Plugin {
                path: path.display().to_string(),
            };
            all.push((kept, vec![plugin.try_clone().map_err(kernel)?.into()]));
        }
        if version >= 2 {
            for (site, listener) in &self.sites {
                let copy = listener.try_clone().map_err(kernel)?;
                all.push((Kept::Site { site: *site }, vec![copy.into()]));
            }
        }
        for pod in self.namespaces.kept() {
            let mut fds = vec![pod.netns.try_clone().map_err(kernel)?];
            for listener in pod.listeners {
                fds.push(listener.try_clone().map_err(kernel)?.into());
            }
            let kept = Kept::Pod {
                pod: pod.pod.to_string(),
                ipv6: pod.ipv6,
            };
            all.push((kept, fds));
        }
        Ok(all)
    }

    fn successor_serves(&mut self, index: usize, now: Instant) {
        let passed = matches!(self.succession, Succession::Passed(_));
        let Some(caller) = self.callers.get_mut(index) else {
            return;
        };
        caller.over = true;
        if !passed || caller.version.is_none() {
            tracing::warn!("somebody said that it serves who was not asked to");
            return;
        }
        let patience = self.settings.succession_deadline;
        tracing::info!(
            ?patience,
            "the successor serves; connections here go on to their end"
        );
        self.succession = Succession::Over;
        self.stopping = None;
        // Its name leads to the successor by now.
        self.door = None;
        if self.worker.is_none() {
            self.say_over(index);
            self.ended = Some(Ended::Drained);
            return;
        }
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.retire_worker(patience, false);
        self.release_later(now);
        self.say_over(index);
    }

    /// Lets the successor know that our worker was told: should we die, it need not look after it.
    fn say_over(&mut self, index: usize) {
        let Some(caller) = self.callers.get_mut(index) else {
            return;
        };
        if caller.version.is_some_and(|version| version >= 2)
            && let Err(error) = caller.channel.send(&FromPredecessor::Over, Vec::new())
        {
            tracing::warn!(%error, "the successor did not hear that this agent ends");
        }
    }

    fn caller_gone(&mut self, index: usize, error: &ChannelError) {
        let Some(caller) = self.callers.get_mut(index) else {
            return;
        };
        let was_heir = caller.version.is_some() && !caller.over;
        caller.over = true;
        if was_heir && self.succession != Succession::Over {
            tracing::warn!(%error, "the successor went away before it served");
            self.resume("the successor is gone");
        }
    }

    fn refuse(&mut self, index: usize, why: String) {
        tracing::warn!(why, "a successor was refused; this agent goes on serving");
        let Some(caller) = self.callers.get_mut(index) else {
            return;
        };
        let refused = FromPredecessor::Refused { why };
        // One that is gone does not need to hear it.
        drop(caller.channel.send(&refused, Vec::new()));
        caller.over = true;
    }

    /// Goes on as before: the upgrade came to nothing.
    fn resume(&mut self, why: &'static str) {
        self.succession = Succession::None;
        tracing::warn!(
            why,
            "the upgrade came to nothing; this agent goes on serving"
        );
        let Some(worker) = &mut self.worker else {
            return self.need_worker();
        };
        if worker.phase == Phase::Quiet {
            worker.phase = Phase::Serving;
        }
        let outcome = worker.tell(&ToWorker::Resume, Vec::new());
        self.blame_worker(outcome);
    }

    pub(crate) fn succession_on_time(&mut self, now: Instant) {
        for caller in &mut self.callers {
            if caller.until <= now {
                caller.over = true;
            }
        }
        if self.succession.until().is_some_and(|until| until <= now) {
            let why = "it took too long: the worker did not become quiet, or the successor did not \
                       serve, in time; see the logs of both agents";
            if let Some(index) = self.callers.iter().position(|c| c.version.is_some()) {
                self.refuse(index, why.to_owned());
            }
            self.resume("it took too long");
        }
        self.callers.retain(|caller| !caller.over);
    }

    /// The worker died; says whether another is to be started.
    pub(crate) fn worker_died(&mut self, now: Instant) -> bool {
        // An upgrade that waited for it to become quiet need not wait any more.
        if matches!(self.succession, Succession::Quietening(_)) {
            self.pass_everything(now);
        }
        match self.succession {
            Succession::None | Succession::Quietening(_) => true,
            // The successor is about to serve, and two must not write the state.
            Succession::Passed(_) => false,
            Succession::Over => {
                self.ended = Some(Ended::Drained);
                false
            }
        }
    }
}
