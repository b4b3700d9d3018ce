//! Connections that were let in are judged again when what applies to their pod changes.
//!
//! A connection that is let in leaves behind what policies can ask about it. When the mesh has
//! changed, each thread compares the policies in force for each of its pods, as the pod's workload
//! is now, with those by which its connections were judged last. Nearly always they are the same,
//! and nothing else happens. Else all of the pod's connections on the thread are judged, a bounded
//! time at a stretch, and who is refused now is cut off: both ends get a reset, and the access line
//! says why.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, timeout_at};
use tunnel_decide::{InForce, Missing, PolicyFacts, Refusal};
use tunnel_discovery::MeshReader;
use tunnel_model::{NextHop, Snapshot, Workload};
use tunnel_telemetry::{Connection, Outcome};

use crate::inbound::Peer;
use crate::live::Live;
use crate::outbound::refused;
use crate::pod::Pod;

/// The pods of one thread.
pub(crate) type Pods = Rc<RefCell<HashMap<Arc<str>, Rc<Pod>>>>;

/// How long connections are judged at a stretch, before bytes are moved again.
const TURN: Duration = Duration::from_millis(1);

/// What policies can ask about a connection, while it is open.
#[derive(Debug)]
pub(crate) struct Standing {
    client: Client,
    to: NextHop,
    refused: RefCell<Option<Box<Refusal>>>,
}

/// Who is connected.
#[derive(Debug)]
pub(crate) enum Client {
    /// The peer of a tunnel.
    Peer(Rc<Peer>),
    /// Somebody at this address.
    Unknown(IpAddr),
}

impl Standing {
    pub(crate) fn new(client: Client, to: NextHop) -> Rc<Self> {
        Rc::new(Self {
            client,
            to,
            refused: RefCell::default(),
        })
    }

    /// Says why the connection ends, before it is ended.
    pub(crate) fn cut(&self, refusal: Box<Refusal>) {
        *self.refused.borrow_mut() = Some(refusal);
    }

    fn facts(&self) -> PolicyFacts<'_> {
        let (identity, source_ip) = match &self.client {
            Client::Peer(peer) => (Some(&peer.identity), peer.address.ip()),
            Client::Unknown(ip) => (None, *ip),
        };
        PolicyFacts {
            identity,
            source_ip,
            destination_ip: self.to.ip(),
            destination_port: self.to.port(),
        }
    }
}

/// A connection that may be cut off: its line then says so.
pub(crate) struct Watched {
    connection: Option<Connection>,
    standing: Rc<Standing>,
}

impl Watched {
    pub(crate) fn new(connection: Connection, standing: Rc<Standing>) -> Self {
        let connection = Some(connection);
        Self {
            connection,
            standing,
        }
    }

    /// Counts.
    pub(crate) fn count(&self, count: impl FnOnce(&Connection)) {
        self.connection.as_ref().map(count);
    }

    /// Ends it by itself.
    pub(crate) fn finish(mut self, outcome: &Outcome) {
        self.close(outcome);
    }

    fn close(&mut self, outcome: &Outcome) {
        if let Some(connection) = self.connection.take() {
            connection.finish(std::time::Instant::now(), outcome);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Else it is told by the connection that it was ended with its pod or process.
        let cut = self.standing.refused.take();
        if let Some(refusal) = cut {
            self.close(&refused(&refusal));
        }
    }
}

/// By what the connections that a pod has let in were judged last.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The pod as discovery told it last; what was attached to it stays so while it says nothing.
    own: Arc<Workload>,
    told: bool,
    by: InForce,
    /// Until when policies are waited for that are attached and have not come.
    awaited_until: Option<Instant>,
}

/// A pod's connections that are to be judged.
struct Due {
    pod: Rc<Pod>,
    ids: [Vec<u64>; 2],
    by: InForce,
    missing: Missing,
}

impl Pod {
    /// A connection was let in by this snapshot; nothing may have been awaited since.
    pub(crate) fn stand(
        &self,
        live: &Live,
        id: u64,
        standing: &Rc<Standing>,
        (snapshot, own): (&Snapshot, &Arc<Workload>),
    ) {
        live.stand(id, standing);
        let first = || Judged {
            own: Arc::clone(own),
            told: snapshot.is_discovered(&own.uid),
            by: self.in_force(snapshot, own),
            awaited_until: None,
        };
        self.judged.borrow_mut().get_or_insert_with(first);
    }

    fn in_force(&self, snapshot: &Snapshot, own: &Workload) -> InForce {
        if snapshot.is_discovered(&own.uid) {
            InForce::of(snapshot, own)
        } else {
            InForce::untold(snapshot, own, &self.root_namespace())
        }
    }

    fn judged_lives(&self) -> [&Rc<Live>; 2] {
        [&self.live.streams, &self.live.plaintext]
    }

    /// What is to be judged on account of a snapshot, or because patience is over.
    fn due(self: &Rc<Self>, snapshot: &Snapshot, now: Instant) -> Option<Due> {
        let mut judged = self.judged.borrow_mut();
        if !self.judged_lives().iter().any(|live| live.any_standing()) {
            *judged = None;
        }
        let judged = judged.as_mut()?;
        let told = self
            .own_in(snapshot)
            .filter(|own| snapshot.is_discovered(&own.uid));
        let by = match told {
            Some(own) => {
                judged.own = own;
                judged.told = true;
                InForce::of(snapshot, &judged.own)
            }
            // It may be gone with its policies, which then is no reason to end what they let in.
            None if judged.told => InForce::of(snapshot, &judged.own).received(),
            None => self.in_force(snapshot, &judged.own),
        };
        let over = judged.awaited_until.is_some_and(|until| until <= now);
        let changed = !by.same(&judged.by);
        if changed {
            let patience = now + self.context.settings.workload_wait;
            let awaited = judged.awaited_until.take().unwrap_or(patience);
            judged.awaited_until = by.is_incomplete().then_some(awaited);
            judged.by = by.clone();
        }
        let missing = match (over, by.is_incomplete()) {
            (true, true) => Missing::Refuse,
            _ => Missing::Awaited,
        };
        if over {
            judged.awaited_until = None;
        }
        (changed || over).then(|| Due {
            pod: Rc::clone(self),
            ids: self.judged_lives().map(|live| live.standing()),
            by,
            missing,
        })
    }

    fn awaited_until(&self) -> Option<Instant> {
        self.judged.borrow().as_ref()?.awaited_until
    }
}

/// Judges the connections of a thread's pods whenever the mesh has changed, to the end of either.
pub(crate) async fn keep(pods: Pods, mesh: MeshReader) {
    let mut changes = mesh.changes();
    loop {
        changes.borrow_and_update();
        // All at once, so that nobody is judged by what was in force before he was let in.
        let due: Vec<Due> = {
            let (snapshot, now) = (mesh.load(), Instant::now());
            let pods = pods.borrow();
            let due = pods.values().filter_map(|pod| pod.due(&snapshot, now));
            due.collect()
        };
        judge(&due).await;
        let awaited = pods
            .borrow()
            .values()
            .filter_map(|pod| pod.awaited_until())
            .min();
        let changed = match awaited {
            Some(until) => timeout_at(until, changes.changed()).await.unwrap_or(Ok(())),
            None => changes.changed().await,
        };
        if changed.is_err() {
            return;
        }
    }
}

async fn judge(due: &[Due]) {
    let mut began = std::time::Instant::now();
    for Due {
        pod,
        ids,
        by,
        missing,
    } in due
    {
        for (live, ids) in pod.judged_lives().into_iter().zip(ids) {
            for id in ids {
                live.judge(*id, |standing| by.judge(&standing.facts(), *missing).err());
                if began.elapsed() >= TURN {
                    yield_now().await;
                    began = std::time::Instant::now();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
