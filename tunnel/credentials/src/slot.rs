//! How it stands with one identity: bookkeeping without waiting. Times and dice are arguments.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tunnel_model::Identity;

use crate::certificate::Certificate;
use crate::roots::RootSet;
use crate::schedule::{Backoff, Jitter, follow_after};

/// The longest sleep. Timers do not notice when the calendar is stepped or the machine slept;
/// looking at it this often does.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What everybody may see of an identity.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) expired: bool,
    /// Since when it stands so: obtained, expired, or waited for.
    pub(crate) since: SystemTime,
    pub(crate) last_error: Option<String>,
}

#[derive(Debug)]
pub(crate) enum Phase {
    /// To be asked for, in the order of waiting.
    Due(Instant),
    /// A request is with the authority.
    InFlight {
        /// Should it fail, another one follows at once.
        again: bool,
    },
    /// Nothing to do until then.
    Fresh(SystemTime),
    /// The latest request failed.
    Paused(Instant),
}

/// One identity.
pub(crate) struct Slot {
    pub(crate) interest: usize,
    pub(crate) idle_since: Option<Instant>,
    pub(crate) phase: Phase,
    pub(crate) backoff: Backoff,
    /// How often in a row its certificate came with other roots than those that are published.
    disagreed: u32,
    pub(crate) publish: watch::Sender<Published>,
}

impl Slot {
    pub(crate) fn new(now: Instant, wall: SystemTime) -> Self {
        let published = Published {
            certificate: None,
            expired: false,
            since: wall,
            last_error: None,
        };
        Self {
            interest: 0,
            idle_since: Some(now),
            phase: Phase::Due(now),
            backoff: Backoff::default(),
            disagreed: 0,
            publish: watch::Sender::new(published),
        }
    }

    pub(crate) fn has_certificate(&self) -> bool {
        self.publish.borrow().certificate.is_some()
    }

    /// A certificate past its end is taken away from everybody, key and all; says whether it was.
    pub(crate) fn expire(&mut self, identity: &Identity, wall: SystemTime) -> bool {
        let expired = self.publish.send_if_modified(|published| {
            let over = published
                .certificate
                .as_ref()
                .is_some_and(|had| !had.usable_at(wall));
            if over {
                published.certificate = None;
                published.expired = true;
                published.since = wall;
            }
            over
        });
        if expired {
            tracing::error!(
                %identity,
                "certificate expired before a new one could be had; mesh traffic of this identity stops until then"
            );
        }
        expired
    }

    pub(crate) fn come_due(&mut self, now: Instant, wall: SystemTime) {
        let due = match self.phase {
            Phase::Fresh(renew_at) => wall >= renew_at || !self.has_certificate(),
            Phase::Paused(until) => now >= until,
            Phase::Due(_) | Phase::InFlight { .. } => false,
        };
        if due && self.interest > 0 {
            self.phase = Phase::Due(now);
        }
    }

    /// How long until something here changes by itself.
    pub(crate) fn sleeps(&self, now: Instant, wall: SystemTime, linger: Duration) -> Duration {
        let calendar = |at: SystemTime| at.duration_since(wall).unwrap_or(Duration::ZERO);
        let mut sleep = LONGEST_SLEEP;
        if let Some(had) = &self.publish.borrow().certificate {
            sleep = sleep.min(calendar(had.not_after));
        }
        match (&self.phase, self.idle_since) {
            // Its end, or a free place, is an event of its own.
            (Phase::InFlight { .. }, _) | (Phase::Due(_), None) => {}
            (_, Some(since)) => sleep = sleep.min((since + linger).saturating_duration_since(now)),
            (Phase::Fresh(at), None) => sleep = sleep.min(calendar(*at)),
            (Phase::Paused(until), None) => {
                sleep = sleep.min(until.saturating_duration_since(now));
            }
        }
        sleep
    }

    /// Whether its certificate came with exactly these roots; none says nothing.
    pub(crate) fn came_with(&self, roots: &RootSet) -> Option<bool> {
        let published = self.publish.borrow();
        let had = published.certificate.as_ref()?;
        Some(RootSet::of(&had.roots) == *roots)
    }

    /// There is a reason to believe that the authority answers now.
    pub(crate) fn ask_again(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Paused(until) => *until = now,
            // What is out was asked before that and may still fail.
            Phase::InFlight { again } => *again = true,
            Phase::Due(_) | Phase::Fresh(_) => return,
        }
        self.backoff.reset();
    }

    /// Other roots are published. What came with others follows them, after a while; says whether
    /// it does.
    pub(crate) fn follow(&mut self, roots: &RootSet, moment: &Moment, jitter: Jitter) -> bool {
        self.disagreed = 0;
        match self.came_with(roots) {
            None => self.ask_again(moment.now),
            Some(true) => return false,
            Some(false) => self.renew_soon(moment, jitter),
        }
        true
    }

    /// Its certificate came with other roots than those that are published: it is made anew before
    /// its time.
    pub(crate) fn renew_soon(&mut self, moment: &Moment, jitter: Jitter) {
        let after = follow_after(moment.pause, self.disagreed, jitter);
        self.disagreed = self.disagreed.saturating_add(1);
        if let Phase::Fresh(renew_at) = &mut self.phase {
            *renew_at = (*renew_at).min(moment.wall + after);
        }
    }

    /// Its certificate came with the roots that are published.
    pub(crate) fn agreed(&mut self) {
        self.disagreed = 0;
    }
}

/// When other roots are followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    pub(crate) wall: SystemTime,
    /// How long others are given to hear of them.
    pub(crate) pause: Duration,
}
