//! One pod on one thread.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tunnel_credentials::Certificate;
use tunnel_decide::InboundVerdict;
use tunnel_hbone::{AppStream, disarm};
use tunnel_model::{Identity, PodUid, Snapshot, Workload, canonical_address};
use tunnel_sockets::Port;
use tunnel_telemetry::{Direction, EarlyRefusal};

use crate::accept::{Strangers, accept_forever};
use crate::application::Ports;
use crate::baggage::Baggage;
use crate::context::Context;
use crate::farewell::Farewell;
use crate::live::{Live, Lives};
use crate::pool::Pool;
use crate::settings::Untold;
use crate::standing::Judged;
use crate::stock::Stock;
use crate::{inbound, outbound, plaintext};

/// Peers of a pod that is gone are told so within; one whose socket is full is not waited for.
const GOODBYE: Duration = Duration::from_millis(200);

/// What a pod is to the data plane.
#[derive(Clone, Debug)]
pub(crate) struct PodFacts {
    pub uid: PodUid,
    pub key: Arc<str>,
    pub name: Arc<str>,
    pub namespace: Arc<str>,
    pub identity: Identity,
    /// Ports for connections to its application; shared by all threads.
    pub ports: Arc<Ports>,
}

/// How a caller was judged, and by what.
pub(crate) struct Admission {
    pub verdict: InboundVerdict,
    pub snapshot: Arc<Snapshot>,
    pub own: Arc<Workload>,
}

/// A pod's connections, tunnels and sockets on one thread.
#[derive(Debug)]
pub(crate) struct Pod {
    pub facts: PodFacts,
    pub context: Rc<Context>,
    pub stock: Rc<Stock>,
    pub pool: Pool,
    pub live: Lives,
    /// Tunnels the pod made. They outlive their last stream by the time its bytes take to leave.
    pub tunnels: Rc<Live>,
    pub strangers: Strangers,
    pub farewell: Farewell,
    pub baggage: Baggage,
    /// By what the connections that were let in are judged.
    pub judged: RefCell<Option<Judged>>,
    own: RefCell<Option<(u64, Arc<Workload>)>>,
    acceptors: RefCell<Vec<AbortHandle>>,
}

impl Pod {
    pub(crate) fn new(facts: PodFacts, context: Rc<Context>) -> Rc<Self> {
        let settings = &context.settings;
        let stock = Stock::new(
            Arc::clone(&facts.key),
            context.parts.sockets.clone(),
            settings.socket_stock,
            settings.limits.connect_timeout,
        );
        let strangers = Strangers::new(settings.max_handshakes);
        Rc::new(Self {
            facts,
            context,
            stock,
            pool: Pool::default(),
            live: Lives::default(),
            tunnels: Rc::default(),
            strangers,
            farewell: Farewell::default(),
            baggage: Baggage::default(),
            judged: RefCell::default(),
            own: RefCell::default(),
            acceptors: RefCell::default(),
        })
    }

    /// Starts to accept. On error nothing is accepted.
    pub(crate) fn listen(
        self: &Rc<Self>,
        listeners: Vec<(Port, std::net::TcpListener)>,
    ) -> std::io::Result<()> {
        let listeners = listeners
            .into_iter()
            .map(|(port, listener)| TcpListener::from_std(listener).map(|l| (port, l)))
            .collect::<std::io::Result<Vec<_>>>()?;
        let mut acceptors = self.acceptors.borrow_mut();
        for (port, listener) in listeners {
            let pod = Rc::clone(self);
            let task = tokio::task::spawn_local(async move { pod.accept(port, listener).await });
            acceptors.push(task.abort_handle());
        }
        Ok(())
    }

    async fn accept(self: Rc<Self>, port: Port, listener: TcpListener) {
        let (what, live) = match port {
            Port::Outbound => ("outbound", &self.live.outbound),
            Port::InboundPlaintext => ("plaintext", &self.live.plaintext),
            Port::InboundHbone => ("hbone", &self.live.tunnels),
        };
        let bound = self.context.settings.max_connections;
        let live = Rc::clone(live);
        accept_forever(
            listener,
            what,
            async || live.room(bound).await,
            |stream, peer| {
                self.handle(port, stream, peer);
            },
        )
        .await;
    }

    fn handle(self: &Rc<Self>, port: Port, stream: TcpStream, peer: SocketAddr) {
        if let Some(ticket) = self.context.tickets.of(&self.facts.key, peer) {
            // Whoever probes waits for the answer with a bound of its own.
            tokio::task::spawn_local(async move {
                let mut stream = stream;
                // It ends well whatever happens to it: a socket that is dead already needs nothing.
                disarm(&stream).ok();
                stream.write_all(&ticket).await.ok();
            });
            return;
        }
        let pod = Rc::clone(self);
        match port {
            Port::Outbound => {
                let app = AppStream::accepted(stream);
                self.live.outbound.spawn(outbound::serve(pod, app, peer));
            }
            Port::InboundPlaintext => {
                let client = AppStream::accepted(stream);
                let live = &self.live.plaintext;
                live.spawn_at(|id| plaintext::serve(pod, client, peer, id));
            }
            Port::InboundHbone => {
                let ticket = self.strangers.ticket();
                let task = self
                    .live
                    .tunnels
                    .spawn(inbound::serve(pod, stream, peer, ticket));
                self.strangers.enter(ticket, peer.ip(), task);
            }
        }
    }

    /// Stops accepting; what is under way goes on, and no new streams use the pod's tunnels.
    pub(crate) fn stop_accepting(&self) {
        for task in self.acceptors.borrow_mut().drain(..) {
            task.abort();
        }
    }

    /// Says that a captured connection is refused before its parties are known. The caller drops
    /// it, which resets it.
    pub(crate) fn refuse_early(
        &self,
        direction: Direction,
        stream: &TcpStream,
        peer: SocketAddr,
        reason: &'static str,
        error: &dyn std::fmt::Display,
    ) {
        let to = local_address(stream).unwrap_or(peer);
        let refusal = EarlyRefusal {
            reason,
            error,
            decided_by: "tunnel",
        };
        let telemetry = &self.context.parts.telemetry;
        telemetry.early_refusal(direction, peer, to, &refusal);
    }

    /// Ends everything: the pod is gone. Peers are told first, a bounded time: their tunnels are
    /// then out of use, and what they had not begun goes elsewhere.
    pub(crate) async fn end(&self) {
        self.stop_accepting();
        self.pool.retire();
        self.live.abort_connections();
        self.strangers.abort_all();
        self.farewell.end();
        timeout(GOODBYE, self.live.tunnels.room(1)).await.ok();
        self.live.tunnels.abort_all();
    }

    /// The snapshot to decide on, and the pod's own workload in it; waits a bounded time for a
    /// workload that is not known yet.
    pub(crate) async fn own(&self) -> Option<(Arc<Snapshot>, Arc<Workload>)> {
        self.own_if(|_, _| true).await
    }

    /// The same, and discovery itself names the workload: what this node says of its pods does not
    /// tell which policies apply to them, so nothing is let in on that alone.
    pub(crate) async fn own_discovered(&self) -> Option<(Arc<Snapshot>, Arc<Workload>)> {
        self.own_if(|snapshot, own| snapshot.is_discovered(&own.uid))
            .await
    }

    /// The same for a caller who is judged. Of a pod that discovery has not told of, and may be kept
    /// from telling, callers are let in whom nothing that may select the pod would refuse; others
    /// wait for its word.
    pub(crate) async fn own_judged(
        &self,
        judge: impl Fn(&Snapshot, &Arc<Workload>) -> InboundVerdict,
    ) -> Option<Admission> {
        let admission = |(snapshot, own): (Arc<Snapshot>, Arc<Workload>)| Admission {
            verdict: judge(&snapshot, &own),
            snapshot,
            own,
        };
        let at_once = self.own_untold().map(admission);
        if let Some(admission) = at_once
            && matches!(admission.verdict, InboundVerdict::Deliver { .. })
        {
            return Some(admission);
        }
        let told = self.own_discovered().await;
        told.or_else(|| self.own_untold()).map(admission)
    }

    /// What this node says of the pod while discovery has told of others and not of it, if that is
    /// enough for anything.
    fn own_untold(&self) -> Option<(Arc<Snapshot>, Arc<Workload>)> {
        let Untold::Judged { .. } = &self.context.settings.untold else {
            return None;
        };
        let snapshot = self.context.parts.mesh.load();
        let own = self.own_in(&snapshot)?;
        let untold = snapshot.is_told() && !snapshot.is_discovered(&own.uid);
        untold.then_some((snapshot, own))
    }

    /// The namespace whose policies may select this pod, too.
    pub(crate) fn root_namespace(&self) -> Arc<str> {
        match &self.context.settings.untold {
            Untold::Judged { root_namespace } => Arc::clone(root_namespace),
            Untold::Refused => Arc::from(""),
        }
    }

    async fn own_if(
        &self,
        enough: fn(&Snapshot, &Workload) -> bool,
    ) -> Option<(Arc<Snapshot>, Arc<Workload>)> {
        let snapshot = self.context.parts.mesh.load();
        if let Some(own) = self.own_in(&snapshot).filter(|own| enough(&snapshot, own)) {
            return Some((snapshot, own));
        }
        let patience = self.context.settings.workload_wait;
        timeout(patience, self.wait_for_own(enough)).await.ok()?
    }

    async fn wait_for_own(
        &self,
        enough: fn(&Snapshot, &Workload) -> bool,
    ) -> Option<(Arc<Snapshot>, Arc<Workload>)> {
        let mut changes = self.context.parts.mesh.changes();
        loop {
            changes.borrow_and_update();
            let snapshot = self.context.parts.mesh.load();
            if let Some(own) = self.own_in(&snapshot).filter(|own| enough(&snapshot, own)) {
                return Some((snapshot, own));
            }
            changes.changed().await.ok()?;
        }
    }

    /// The pod's own workload in a snapshot.
    pub(crate) fn own_in(&self, snapshot: &Snapshot) -> Option<Arc<Workload>> {
        if let Some((version, own)) = &*self.own.borrow()
            && *version == snapshot.version()
        {
            return Some(Arc::clone(own));
        }
        let PodFacts {
            namespace,
            name,
            identity,
            ..
        } = &self.facts;
        let own = snapshot.workload_by_name(namespace, name, identity.service_account())?;
        *self.own.borrow_mut() = Some((snapshot.version(), Arc::clone(own)));
        Some(Arc::clone(own))
    }

    /// The pod's certificate; a connection is held for it, a bounded time.
    pub(crate) async fn certificate(&self, patience: Duration) -> Result<Arc<Certificate>, String> {
        let credentials = &self.context.parts.credentials;
        let identity = &self.facts.identity;
        if let Some(certificate) = credentials.current(identity) {
            return Ok(certificate);
        }
        timeout(patience, credentials.certificate(identity))
            .await
            .map_err(|_| {
                let why = credentials.last_error(identity);
                format!(
                    "no certificate for {identity} within {patience:?}: {}",
                    why.as_deref().unwrap_or("the CA has not answered yet")
                )
            })
    }
}

/// The address a connection came in on.
pub(crate) fn local_address(stream: &TcpStream) -> std::io::Result<SocketAddr> {
    stream.local_addr().map(canonical_address)
}

/// What is said to who comes to a pod that [`Pod::own_discovered`] does not find.
pub(crate) const NOT_DISCOVERED: &str = "this pod is not in the mesh's state yet, so the policies that apply to it are not known; add \
     it to the mesh file, or wait for the control plane";
