//! Who wants which certificate and how it stands with each: bookkeeping without waiting. Times
//! and dice are arguments.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tunnel_model::Identity;

use crate::certificate::Certificate;
use crate::roots::RootSet;
use crate::schedule::{Jitter, renew_at};
use crate::slot::{LONGEST_SLEEP, Moment, Phase, Published, Slot};

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
            slot.ask_again(now);
        }
    }

    /// Whether some certificate came with exactly these roots.
    pub(crate) fn came_with(&self, roots: &RootSet) -> bool {
        let mut slots = self.slots.values();
        slots.any(|slot| slot.came_with(roots) == Some(true))
    }

    /// Other roots are published: whatever came with others follows them, each at its own time. How
    /// many will.
    pub(crate) fn follow(
        &mut self,
        roots: &RootSet,
        moment: &Moment,
        mut dice: impl FnMut() -> Jitter,
    ) -> usize {
        let slots = self.slots.values_mut();
        slots
            .filter_map(|slot| slot.follow(roots, moment, dice()).then_some(()))
            .count()
    }

    /// Whether the certificate that was just obtained came with the roots that are published.
    pub(crate) fn compared(
        &mut self,
        id: &Identity,
        agrees: bool,
        moment: &Moment,
        jitter: Jitter,
    ) {
        match self.slots.get_mut(id) {
            Some(slot) if agrees => slot.agreed(),
            Some(slot) => slot.renew_soon(moment, jitter),
            None => {}
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
