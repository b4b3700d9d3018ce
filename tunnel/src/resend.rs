//! A connection that a pod makes, once it is set up; carried to another tunnel if its own fails
//! before the peer has answered.
//!
//! ```text
//! stream ──(200)──► answered: it stays with its stream to the end
//!   ▲  └──(failed, the far application got nothing)──► opening: a stream of another tunnel
//!   └───────────────────────────────────────────────────────┘      └──► refused, after TRIES
//! ```
//!
//! Whether the far application got nothing is `tunnel-hbone`'s rule (`kept`); here is how often and
//! for how long it is tried.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, timeout_at};
use tunnel_hbone::{
    Broken, ConnectHead, OpenStream, Pump, Pumped, Relay, StreamError, TunnelError,
};
use tunnel_model::{Service, Workload};
use tunnel_telemetry::Outcome;

use crate::flow::{Counted, Outward, relayed, streamed};
use crate::pod::Pod;
use crate::pool::PoolKey;
use crate::tunnels::{self, flag_of};

/// Streams a connection is carried to after its first.
const TRIES: usize = 3;

/// What it takes to open a stream for a connection, the first time and again.
pub(crate) struct Errand {
    pub pod: Rc<Pod>,
    pub key: PoolKey,
    pub own: Arc<Workload>,
    pub client: SocketAddr,
    pub target: SocketAddr,
    pub service: Option<Arc<Service>>,
    pub trace: u128,
    pub span: u64,
    pub tried: usize,
    /// Set with the first failure.
    pub deadline: Option<Instant>,
}

/// A stream that is being opened; the errand comes back with it.
type Opening = Pin<Box<dyn Future<Output = (Box<Errand>, Result<OpenStream, TunnelError>)>>>;

impl Errand {
    /// Opens a stream.
    pub(crate) async fn open(&self) -> Result<OpenStream, TunnelError> {
        let baggage = self.pod.baggage.of(&self.own);
        let head = ConnectHead {
            authority: self.target,
            baggage: baggage.as_ref(),
            client: self.client,
            service: self.service.as_ref().map(|s| &*s.hostname),
            trace: self.trace,
            span: self.span,
        };
        tunnels::open(&self.pod, &self.key, &head).await
    }

    /// Opens another after one has failed; the errand's end when that was the last try.
    fn again(mut self: Box<Self>, why: &Broken) -> Option<Opening> {
        self.tried += 1;
        let context = &self.pod.context;
        let limits = &context.settings.limits;
        let patience = limits.connect_timeout + limits.handshake_timeout;
        let deadline = *self
            .deadline
            .get_or_insert_with(|| Instant::now() + patience);
        if self.tried > TRIES {
            return None;
        }
        context.resent.increment();
        tracing::debug!(
            pod = %self.pod.facts.uid, peer = %self.key.next_hop.get(), client = %self.client,
            attempt = self.tried, error = %why,
            "the stream failed before it was answered, another one carries the connection"
        );
        Some(Box::pin(async move {
            let opened = timeout_at(deadline, self.open()).await;
            let opened = opened.unwrap_or(Err(TunnelError::Closed));
            (self, opened)
        }))
    }
}

/// What is left of a connection that a pod makes after its decision has been carried out.
pub(crate) enum Outgoing {
    /// By a stream of a tunnel.
    Tunnel(Carried),
    /// Past the mesh.
    Plain(Relay<Outward>),
}

/// A connection carried by streams, one after the other.
pub(crate) struct Carried {
    pump: Pump<Outward>,
    /// Until the stream is answered.
    errand: Option<Box<Errand>>,
    opening: Option<Opening>,
}

impl Carried {
    pub(crate) fn new(pump: Pump<Outward>, errand: Box<Errand>) -> Self {
        Self {
            pump,
            errand: Some(errand),
            opening: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Outward, Outcome)> {
        loop {
            if let Some(opening) = &mut self.opening {
                let (errand, opened) = ready!(opening.as_mut().poll(cx));
                self.opening = None;
                match opened {
                    Ok(stream) => self.pump.carry_on(stream),
                    Err(error) => return self.give_up(unopened(&error)),
                }
                self.errand = Some(errand);
            }
            match Pin::new(&mut self.pump).poll(cx) {
                Poll::Ready(Pumped::Over { meter, result }) => {
                    return Poll::Ready((meter, streamed(result)));
                }
                Poll::Ready(Pumped::Unanswered(error)) => {
                    self.pump.retire_tunnel();
                    self.opening = self.errand.take().and_then(|e| e.again(&error));
                    if self.opening.is_none() {
                        return self.give_up(streamed(Err(StreamError::Tunnel(error))));
                    }
                }
                Poll::Pending => {
                    if self.errand.is_some() && self.pump.answered() {
                        self.errand = None;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn give_up(&mut self, outcome: Outcome) -> Poll<(Outward, Outcome)> {
        self.pump
            .give_up()
            .map_or(Poll::Pending, |meter| Poll::Ready((meter, outcome)))
    }
}

fn unopened(error: &TunnelError) -> Outcome {
    Outcome::Failed {
        flag: flag_of(error),
        error: format!("the tunnel failed before the peer answered, and then: {error}"),
    }
}

// A future of its own for the reason that `Flow` is one.
impl Future for Outgoing {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let (meter, outcome) = match self.get_mut() {
            Self::Tunnel(carried) => ready!(carried.poll(cx)),
            Self::Plain(relay) => {
                let (meter, result) = ready!(Pin::new(relay).poll(cx));
                (meter, relayed(result))
            }
        };
        meter.finish(&outcome);
        Poll::Ready(())
    }
}
