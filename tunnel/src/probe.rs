//! The self-probe: proof that a pod's rules lead to its listeners before the pod is let run.
//!
//! A connection is made from inside the pod the way its application would make one, to an address
//! that nobody has. If rules and listeners are right, it arrives at our listener, which knows the
//! ticket under the connection's source address and answers with it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Length of a ticket on the wire, bytes.
pub(crate) const TICKET: usize = 16;

/// Addresses reserved for documentation (RFC 5737, RFC 3849): no pod can want to reach them.
pub(crate) const NOWHERE: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 9),
    SocketAddr::new(
        IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        9,
    ),
];

/// A pod, and a probing socket's address in it.
type Source = (Arc<str>, SocketAddr);

/// Tickets of probes under way, by the probing socket's address and pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tickets {
    open: Arc<AtomicUsize>,
    by_source: Arc<Mutex<HashMap<Source, [u8; TICKET]>>>,
}

impl Tickets {
    /// Expects a connection from `source` in `pod` until the guard is dropped.
    pub(crate) fn expect(
        &self,
        pod: Arc<str>,
        source: SocketAddr,
        ticket: [u8; TICKET],
    ) -> Expected {
        let key = (pod, source);
        let mut open = self
            .by_source
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.insert(key.clone(), ticket);
        self.open.store(open.len(), Ordering::Release);
        Expected {
            tickets: self.clone(),
            key,
        }
    }

    /// The ticket of an accepted connection, if it is a probe. Costs one load while none is open.
    pub(crate) fn of(&self, pod: &Arc<str>, source: SocketAddr) -> Option<[u8; TICKET]> {
        if self.open.load(Ordering::Acquire) == 0 {
            return None;
        }
        let open = self
            .by_source
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.get(&(Arc::clone(pod), source)).copied()
    }
}

/// A probe under way.
#[derive(Debug)]
pub(crate) struct Expected {
    tickets: Tickets,
    key: Source,
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut open = self
            .tickets
            .by_source
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.key);
        self.tickets.open.store(open.len(), Ordering::Release);
    }
}
