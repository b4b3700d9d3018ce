//! Who wants which certificate and how it stands with each: bookkeeping without waiting. Times
//! and dice are arguments.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tunnel_model::Identity;

use crate::certificate::Certificate;
use crate::schedule::{Backoff, Jitter, renew_at};

/// The longest sleep. Timers do not notice when the calendar is stepped or the machine slept;
/// looking at it this often does.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

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
enum Phase {
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

struct Slot {
    interest: usize,
    idle_since: Option<Instant>,
    phase: Phase,
    backoff: Backoff,
    publish: watch::Sender<Published>,
}

impl Slot {
    fn new(now: Instant, wall: SystemTime) -> Self {
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
            publish: watch::Sender::new(published),
        }
    }

    fn has_certificate(&self) -> bool {
        self.publish.borrow().certificate.is_some()
    }

    /// A certificate past its end is taken away from everybody, key and all; says whether it was.
    fn expire(&mut self, identity: &Identity, wall: SystemTime) -> bool {
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

    fn come_due(&mut self, now: Instant, wall: SystemTime) {
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
    fn sleeps(&self, now: Instant, wall: SystemTime, linger: Duration) -> Duration {
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
}

/// All identities of this node.
pub(crate) struct Book {
    slots: HashMap<Identity, Slot>,
    linger: Duration,
    revision: u64,
}

impl Book {
    pub(crate) fn new(linger: Duration) -> Self {
        Self {
            slots: HashMap::new(),
            linger,
            revision: 0,
        }
    }

    /// Grows with each change that [`Published`] or the set of identities shows.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Counts one more who wants it.
    pub(crate) fn hold(
        &mut self,
        id: &Identity,
        now: Instant,
        wall: SystemTime,
    ) -> watch::Receiver<Published> {
        let revision = &mut self.revision;
        let slot = self.slots.entry(id.clone()).or_insert_with(|| {
            *revision += 1;
            Slot::new(now, wall)
        });
        slot.interest += 1;
        slot.idle_since = None;
        slot.publish.subscribe()
    }

    /// Counts one less.
    pub(crate) fn release(&mut self, id: &Identity, now: Instant) {
        let Some(slot) = self.slots.get_mut(id).filter(|slot| slot.interest > 0) else {
            tracing::error!(identity = %id, "a certificate was released more often than held");
            return;
        };
        slot.interest -= 1;
        if slot.interest == 0 {
            slot.idle_since = Some(now);
        }
    }

    /// Lets time pass; returns who was forgotten.
    pub(crate) fn pass(&mut self, now: Instant, wall: SystemTime) -> Vec<Identity> {
        for (identity, slot) in &mut self.slots {
            self.revision += u64::from(slot.expire(identity, wall));
            slot.come_due(now, wall);
        }
        let linger = self.linger;
        // One with a request out stays until its end, so that there are never two.
        let over = |slot: &Slot| {
            !matches!(slot.phase, Phase::InFlight { .. })
                && slot.idle_since.is_some_and(|since| now >= since + linger)
        };
        let forgotten: Vec<_> = self
            .slots
            .extract_if(|_, slot| over(slot))
            .map(|(identity, _)| identity)
            .collect();
        self.revision += u64::from(!forgotten.is_empty());
        forgotten
    }

    /// Ends all pauses: there is a reason to believe that the authority answers now.
    pub(crate) fn ask_again(&mut self, now: Instant) {
        for slot in self.slots.values_mut() {
            match &mut slot.phase {
                Phase::Paused(until) => *until = now,
                // What is out was asked before that and may still fail.
                Phase::InFlight { again } => *again = true,
                Phase::Due(_) | Phase::Fresh(_) => continue,
            }
            slot.backoff.reset();
        }
    }

    /// The next to ask for: those without any certificate before renewals, then the longest
    /// waiting. It counts as asked.
    pub(crate) fn next_request(&mut self) -> Option<Identity> {
        let (identity, slot) = self
            .slots
            .iter_mut()
            .filter(|(_, slot)| slot.interest > 0)
            .filter_map(|(identity, slot)| match slot.phase {
                Phase::Due(since) => Some(((slot.has_certificate(), since), identity, slot)),
                _ => None,
            })
            .min_by_key(|(order, ..)| *order)
            .map(|(_, identity, slot)| (identity, slot))?;
        slot.phase = Phase::InFlight { again: false };
        Some(identity.clone())
    }

    /// A request came to a good end.
    pub(crate) fn succeeded(&mut self, new: Arc<Certificate>, wall: SystemTime, jitter: Jitter) {
        let Some(slot) = self.slots.get_mut(&new.identity) else {
            return;
        };
        slot.phase = Phase::Fresh(renew_at(new.not_before, new.not_after, wall, jitter));
        slot.backoff.reset();
        slot.publish.send_replace(Published {
            certificate: Some(new),
            expired: false,
            since: wall,
            last_error: None,
        });
        self.revision += 1;
    }

    /// A request came to a bad end; returns the pause before the next.
    pub(crate) fn failed(
        &mut self,
        id: &Identity,
        why: &str,
        now: Instant,
        jitter: Jitter,
    ) -> Option<Duration> {
        let slot = self.slots.get_mut(id)?;
        let in_hand = slot.has_certificate();
        let pause = match slot.phase {
            Phase::InFlight { again: true } => Duration::ZERO,
            _ => slot.backoff.after_failure(in_hand, jitter),
        };
        slot.phase = Phase::Paused(now + pause);
        slot.publish
            .send_modify(|published| published.last_error = Some(why.to_owned()));
        self.revision += 1;
        Some(pause)
    }

    /// How long nothing will happen by itself.
    pub(crate) fn sleeps(&self, now: Instant, wall: SystemTime) -> Duration {
        self.slots
            .values()
            .map(|slot| slot.sleeps(now, wall, self.linger))
            .min()
            .unwrap_or(LONGEST_SLEEP)
    }
}
