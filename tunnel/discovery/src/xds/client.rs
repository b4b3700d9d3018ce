use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tunnel_control::{Answers, Backoff, Connector, ControlError, Dice};
use tunnel_telemetry::Telemetry;

use super::convert::ResourceType;
use super::known::{Extent, Known, Rejected};
use super::metrics::Metrics;
use super::news::Publication;
use super::proto::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use super::protocol::{self, NodeFacts};
use super::status::{Link, Nack, XdsStatus};
use crate::MeshStore;

const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

/// The first state of the largest mesh comes in one message.
const LARGEST_RESPONSE: usize = 200 << 20;

/// How many responses are taken together, when several have come.
const BATCH: usize = 64;

/// What a client is made of.
#[derive(Debug)]
pub struct XdsParts {
    /// The way to the control plane.
    pub connector: Connector,
    /// Who we are.
    pub facts: NodeFacts,
    /// Where the mesh is published.
    pub store: Arc<MeshStore>,
    /// Where it is counted.
    pub telemetry: Telemetry,
}

/// Follows the control plane for as long as it is run. What it has told stays published whatever
/// happens to the connection.
pub struct XdsClient {
    connector: Connector,
    facts: NodeFacts,
    store: Arc<MeshStore>,
    metrics: Metrics,
    status: watch::Sender<XdsStatus>,
    known: Known,
}

impl fmt::Debug for XdsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XdsClient")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

/// A response that was understood as one.
struct Received {
    kind: ResourceType,
    response: DeltaDiscoveryResponse,
    extent: Extent,
    bytes: usize,
}

/// What became of it.
struct Applied {
    kind: ResourceType,
    version: String,
    nonce: String,
    rejected: Vec<Rejected>,
    bytes: usize,
}

impl XdsClient {
    /// A client that does nothing until it is run.
    #[must_use]
    pub fn new(parts: XdsParts) -> Self {
        Self {
            connector: parts.connector,
            facts: parts.facts,
            store: parts.store,
            metrics: Metrics::new(parts.telemetry),
            status: watch::Sender::new(XdsStatus::new(SystemTime::now())),
            known: Known::default(),
        }
    }

    /// How it stands, now and whenever that changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<XdsStatus> {
        self.status.subscribe()
    }

    /// Connects, subscribes and publishes, again and again, for ever.
    pub async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            self.link(Link::Connecting);
            let mut served = Served::default();
            let ended = self.serve(&mut served).await;
            self.metrics.connected(false);
            self.metrics.ended(ended.as_ref().err());
            let pause = backoff.after(served.lasted(), Dice::throw());
            self.wait(ended.err(), pause).await;
        }
    }

    /// One connection, from its making to its end.
    async fn serve(&mut self, served: &mut Served) -> Result<(), ControlError> {
        let connection = self.connector.connect().await?;
        let opening = protocol::open(&self.facts, &self.known);
        let (requests, queue) = mpsc::channel(QUEUE);
        for request in opening.requests {
            send(&requests, request).await?;
        }
        let mut answers = connection.converse(METHOD, queue, LARGEST_RESPONSE).await?;
        drop(connection);
        self.link(Link::Connected);
        self.metrics.connected(true);
        let mut extents = opening.extents;
        while let Some(first) = answers.next().await? {
            served.begin();
            let (batch, end) = gather(first, &mut answers).await;
            let received = self.sort(batch, &mut extents, &requests).await?;
            let began = Instant::now();
            let applied = self.apply(received).await?;
            let took = began.elapsed();
            let mut replies = Vec::with_capacity(applied.len());
            for one in applied {
                replies.push(protocol::answer(one.kind, one.nonce.clone(), &one.rejected));
                self.note(one);
            }
            if let Some(end) = end {
                // Nobody is there to be answered.
                return end;
            }
            for reply in replies {
                send(&requests, reply).await?;
            }
            self.rest(took).await;
        }
        Ok(())
    }

    /// What of a batch is of a type that was asked for. Anything else is refused.
    async fn sort(
        &self,
        batch: Vec<DeltaDiscoveryResponse>,
        extents: &mut [Extent],
        requests: &mpsc::Sender<DeltaDiscoveryRequest>,
    ) -> Result<Vec<Received>, ControlError> {
        let mut received = Vec::with_capacity(batch.len());
        for response in batch {
            let Some(kind) = ResourceType::of_url(&response.type_url) else {
                tracing::warn!(type_url = response.type_url, "not subscribed to this type");
                send(
                    requests,
                    protocol::refuse(response.type_url, response.nonce),
                )
                .await?;
                continue;
            };
            let extent = std::mem::replace(&mut extents[kind as usize], Extent::Changes);
            received.push(Received {
                kind,
                bytes: response.encoded_len(),
                response,
                extent,
            });
        }
        Ok(received)
    }

    /// Converts and publishes away from this thread, which has others to serve, and from those
    /// that carry traffic.
    async fn apply(&mut self, received: Vec<Received>) -> Result<Vec<Applied>, ControlError> {
        let mut known = std::mem::take(&mut self.known);
        let store = Arc::clone(&self.store);
        let work = move || {
            let applied: Vec<_> = received
                .into_iter()
                .map(|one| apply(&mut known, one))
                .collect();
            if known.is_complete() && !applied.is_empty() {
                match known.news() {
                    Publication::Everything(state) => store.set_state(state),
                    Publication::Changes(changes) => store.change(changes),
                };
            }
            (known, applied)
        };
        // If it panics, what is known goes with it; what is published stays, and all is asked for
        // anew on the next connection.
        let done = tokio::task::spawn_blocking(work).await;
        let (known, applied) = done.map_err(|why| ControlError::Interrupted(why.to_string()))?;
        self.known = known;
        Ok(applied)
    }

    /// Leaves the processors to the traffic for a while: a new snapshot of a large mesh takes tens of
    /// milliseconds, and what comes meanwhile goes into one. Then takes the old ones apart.
    async fn rest(&self, took: Duration) {
        tokio::time::sleep((REST * took).min(LONGEST_REST)).await;
        let store = Arc::clone(&self.store);
        // Should it fail, the next change does it.
        let _done = tokio::task::spawn_blocking(move || store.tidy()).await;
    }

    fn note(&self, applied: Applied) {
        let Applied {
            kind,
            version,
            rejected,
            bytes,
            ..
        } = applied;
        let now = SystemTime::now();
        self.metrics.response(kind, bytes, rejected.len());
        for Rejected { name, why } in rejected.iter().take(LOGGED) {
            tracing::error!(
                name,
                why,
                type_url = kind.url(),
                "resource of the control plane rejected; the version before stays in force"
            );
        }
        let complete = self.known.is_complete();
        self.status.send_modify(|status| {
            let of = &mut status.types[kind as usize];
            of.resources = self.known.count(kind);
            of.responses += 1;
            of.version = version;
            of.last_response = Some(now);
            if complete && status.complete_since.is_none() {
                status.complete_since = Some(now);
            }
            if !rejected.is_empty() {
                status.last_nack = Some(Nack {
                    at: now,
                    kind,
                    rejected: rejected.len(),
                    why: protocol::list(&rejected),
                });
            }
        });
        self.metrics.holds(&self.status.borrow());
    }

    fn link(&self, link: Link) {
        let now = SystemTime::now();
        self.status.send_modify(|status| status.set_link(link, now));
        if link == Link::Connected {
            let host = &self.connector.settings().host;
            tracing::info!(host, "connected to the control plane");
        }
    }

    /// Says why there is no connection, once for each reason, and waits.
    async fn wait(&self, why: Option<ControlError>, pause: Duration) {
        let text = why.map_or_else(
            || "the server ended the stream".to_owned(),
            |why| why.to_string(),
        );
        let known = self.status.borrow().last_failure.as_ref() == Some(&text);
        if !known {
            let in_force = self.status.borrow().complete_since.is_some();
            tracing::warn!(
                error = text, retry_in = ?pause, state_in_force = in_force,
                "no connection to the control plane"
            );
        }
        let now = SystemTime::now();
        self.status.send_modify(|status| {
            status.set_link(Link::Waiting, now);
            status.last_failure = Some(text);
        });
        tokio::time::sleep(pause).await;
    }
}

/// So that conversion takes a fifth of a processor at most.
const REST: u32 = 4;
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Requests that wait to be sent: first ones, and answers to one batch.
const QUEUE: usize = BATCH + ResourceType::ALL.len();

/// Names of rejected resources in the log, for each response.
const LOGGED: usize = 20;

fn apply(known: &mut Known, received: Received) -> Applied {
    let Received {
        kind,
        mut response,
        extent,
        bytes,
    } = received;
    let version = std::mem::take(&mut response.system_version_info);
    let nonce = std::mem::take(&mut response.nonce);
    Applied {
        kind,
        version,
        nonce,
        rejected: known.apply(kind, response, extent),
        bytes,
    }
}

async fn send(
    requests: &mpsc::Sender<DeltaDiscoveryRequest>,
    request: DeltaDiscoveryRequest,
) -> Result<(), ControlError> {
    let sent = requests.send(request).await;
    sent.map_err(|_closed| ControlError::Unavailable {
        code: "UNAVAILABLE",
        message: "the server takes no more requests".to_owned(),
    })
}

/// A response and those that have come after it already, so that many small changes make one new
/// snapshot; and how the stream has ended, if it has.
async fn gather(
    first: DeltaDiscoveryResponse,
    answers: &mut Answers<DeltaDiscoveryResponse>,
) -> (
    Vec<DeltaDiscoveryResponse>,
    Option<Result<(), ControlError>>,
) {
    let mut batch = vec![first];
    while batch.len() < BATCH {
        match at_once(answers.next()).await {
            None => break,
            Some(Ok(Some(next))) => batch.push(next),
            Some(Ok(None)) => return (batch, Some(Ok(()))),
            Some(Err(why)) => return (batch, Some(Err(why))),
        }
    }
    (batch, None)
}

/// What a future gives without waiting.
async fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// How long a connection was of use.
#[derive(Default)]
struct Served(Option<Instant>);

impl Served {
    fn begin(&mut self) {
        self.0.get_or_insert_with(Instant::now);
    }

    fn lasted(&self) -> Duration {
        self.0.map(|since| since.elapsed()).unwrap_or_default()
    }
}
