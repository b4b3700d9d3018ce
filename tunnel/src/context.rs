//! What every connection of a thread works with.

use std::cell::RefCell;
use std::rc::Rc;

use tunnel_telemetry::Counter;

use crate::occupants::Remembered;
use crate::probe::Tickets;
use crate::settings::{Parts, TunnelSettings};

/// Shared by all pods of one thread.
#[derive(Debug)]
pub(crate) struct Context {
    pub settings: TunnelSettings,
    pub parts: Parts,
    pub tickets: Tickets,
    /// Counts streams that were opened for a connection because an earlier one failed unanswered.
    pub resent: Counter,
    /// Who is at addresses that the mesh does not know.
    pub remembered: Remembered,
    random: RefCell<u64>,
}

impl Context {
    pub(crate) fn new(settings: TunnelSettings, parts: Parts, tickets: Tickets) -> Rc<Self> {
        let seed = getrandom::u64().unwrap_or(0x9e37_79b9_7f4a_7c15);
        let resent = parts.telemetry.counter(
            "ambient_tunnel_resends",
            "Streams opened for a connection whose earlier stream failed before it was answered",
        );
        Rc::new(Self {
            settings,
            parts,
            tickets,
            resent,
            remembered: Remembered::default(),
            random: RefCell::new(seed),
        })
    }

    /// Evenly spread bits for load balancing and trace ids (`SplitMix64`); never for secrets.
    pub(crate) fn random(&self) -> u64 {
        let mut state = self.random.borrow_mut();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
