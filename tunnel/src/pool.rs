//! The tunnels one pod has open, by destination.
//!
//! A tunnel is never shared between pods: it leaves from the pod's own address and carries the
//! pod's own identity. Whoever needs a tunnel that is just being made waits for that one, and all
//! who wait learn of its failure together.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tokio::sync::watch;
use tunnel_hbone::{ClientTunnel, Promised, StreamGuard, TunnelError};
use tunnel_model::{Identity, NextHop};

/// What makes two connections fit for one tunnel, besides the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PoolKey {
    pub next_hop: NextHop,
    pub expected: Arc<[Identity]>,
}

/// By address alone: few addresses belong to more than one identity, and those are long.
impl Hash for PoolKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.next_hop.hash(state);
    }
}

/// Peers of which is remembered what they promised, without a tunnel to them.
const REMEMBERED: usize = 1024;

type Made = Option<Result<(), TunnelError>>;

#[derive(Default)]
struct Slot {
    tunnels: Vec<ClientTunnel>,
    /// Set while a tunnel is being made.
    making: Option<watch::Receiver<Made>>,
}

/// The pool of one pod on one thread.
#[derive(Default)]
pub(crate) struct Pool {
    slots: RefCell<HashMap<PoolKey, Slot>>,
    promised: RefCell<HashMap<PoolKey, Promised>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("slots", &self.slots.borrow().len())
            .finish_non_exhaustive()
    }
}

enum Found {
    Tunnel(ClientTunnel, StreamGuard),
    Wait(watch::Receiver<Made>),
    Make(watch::Sender<Made>),
}

impl Pool {
    /// A tunnel with room for a stream, which is counted as taken; made by `make` if there is none.
    pub(crate) async fn tunnel<F, M>(
        &self,
        key: &PoolKey,
        make: M,
    ) -> Result<(ClientTunnel, StreamGuard), TunnelError>
    where
        M: Fn() -> F,
        F: Future<Output = Result<ClientTunnel, TunnelError>>,
    {
        loop {
            match self.find(key) {
                Found::Tunnel(tunnel, guard) => return Ok((tunnel, guard)),
                Found::Wait(mut made) => {
                    // An error of the wait says that whoever was making it was cut off: the next
                    // to look makes it.
                    if let Ok(result) = made.wait_for(Option::is_some).await
                        && let Some(Err(error)) = &*result
                    {
                        return Err(error.clone());
                    }
                }
                Found::Make(done) => return self.make(key, make().await, &done),
            }
        }
    }

    fn make(
        &self,
        key: &PoolKey,
        made: Result<ClientTunnel, TunnelError>,
        done: &watch::Sender<Made>,
    ) -> Result<(ClientTunnel, StreamGuard), TunnelError> {
        self.forget_maker(key);
        let result = made.map(|tunnel| {
            let guard = tunnel.reserve();
            self.slots
                .borrow_mut()
                .entry(key.clone())
                .or_default()
                .tunnels
                .push(tunnel.clone());
            (tunnel, guard)
        });
        done.send_replace(Some(result.as_ref().map(drop).map_err(Clone::clone)));
        result
    }

    fn find(&self, key: &PoolKey) -> Found {
        let mut slots = self.slots.borrow_mut();
        let slot = match slots.get_mut(key) {
            Some(slot) => slot,
            None => slots.entry(key.clone()).or_default(),
        };
        slot.tunnels.retain(|t| t.state().usable());
        if let Some(tunnel) = slot.tunnels.iter().find(|t| t.has_room()) {
            return Found::Tunnel(tunnel.clone(), tunnel.reserve());
        }
        if let Some(making) = &slot.making
            && making.has_changed().is_ok()
        {
            return Found::Wait(making.clone());
        }
        let (done, making) = watch::channel(None);
        slot.making = Some(making);
        Found::Make(done)
    }

    /// What the peer has promised so far, shared by all tunnels to it.
    pub(crate) fn promised(&self, key: &PoolKey) -> Promised {
        let mut all = self.promised.borrow_mut();
        if let Some(known) = all.get(key) {
            return known.clone();
        }
        if all.len() >= REMEMBERED {
            all.retain(|_, promised| promised.in_use());
        }
        let fresh = Promised::default();
        all.insert(key.clone(), fresh.clone());
        fresh
    }

    /// A destination that was never reached leaves nothing behind.
    fn forget_maker(&self, key: &PoolKey) {
        let mut slots = self.slots.borrow_mut();
        if let Some(slot) = slots.get_mut(key) {
            slot.making = None;
            if slot.tunnels.is_empty() {
                slots.remove(key);
            }
        }
    }

    /// Forgets tunnels that are closed, and destinations without any: called when a tunnel ends.
    pub(crate) fn sweep(&self) {
        self.slots.borrow_mut().retain(|_, slot| {
            slot.tunnels.retain(|t| t.state().usable());
            !slot.tunnels.is_empty() || slot.making.is_some()
        });
    }

    /// Takes every tunnel out of use; streams that are open go on.
    pub(crate) fn retire(&self) {
        for slot in self.slots.borrow_mut().values_mut() {
            for tunnel in slot.tunnels.drain(..) {
                tunnel.retire();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_peers_in_use_are_remembered_for_ever() {
        let pool = Pool::default();
        let key = |port: usize| PoolKey {
            next_hop: NextHop::new(([10, 0, 0, 1], u16::try_from(port).unwrap_or(0)).into()),
            expected: Arc::new([]),
        };
        let used = pool.promised(&key(0));
        for port in 1..=REMEMBERED {
            assert!(!pool.promised(&key(port)).has_answered());
        }
        assert_eq!(pool.promised.borrow().len(), 2);
        assert!(used.in_use(), "the pool shares it no more");
    }
}
