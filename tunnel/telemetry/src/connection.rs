//! One connection: its counters while it lives and its access line when it ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tunnel_model::{Identity, Parties, ResponseFlag};

use crate::Telemetry;
use crate::access;
use crate::labels::{FLAGS, Subject};
use crate::series::Route;

/// Which side of the connection this proxy stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards a pod of ours; reported as `destination`.
    Inbound,
    /// From a pod of ours; reported as `source`.
    Outbound,
}

impl Direction {
    pub(crate) fn reporter(self) -> &'static str {
        match self {
            Self::Inbound => "destination",
            Self::Outbound => "source",
        }
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// What protects the connection between the two proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// Mutual TLS with both identities proven.
    MutualTls,
    /// Nothing of ours.
    Unknown,
}

impl Security {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::MutualTls => "mutual_tls",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known about a connection once it has been decided where it goes.
#[derive(Clone, Debug)]
pub struct ConnectionStart {
    /// Which side we are.
    pub direction: Direction,
    /// The client, as seen by the server pod.
    pub source: SocketAddr,
    /// The next hop, such as `10.0.0.7:15008`.
    pub destination: SocketAddr,
    /// The CONNECT authority, when there is one.
    pub hbone_target: Option<SocketAddr>,
    /// The workloads and the service, as far as they are known.
    pub parties: Parties,
    /// The proven identity of the client (our own pod's for outbound).
    pub source_identity: Option<Identity>,
    /// The proven identity of the server; without it the destination workload's name is used.
    pub destination_identity: Option<Identity>,
    /// Protection between the proxies.
    pub security: Security,
    /// When the connection was accepted.
    pub started: Instant,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Both directions ended in order.
    Done,
    /// Something broke.
    Failed {
        /// The class of failure.
        flag: ResponseFlag,
        /// What happened, for the operator.
        error: String,
    },
    /// Somebody decided against it.
    Refused {
        /// The class of refusal.
        flag: ResponseFlag,
        /// The reason, for the operator.
        error: String,
        /// Whose decision it was, such as a policy's name.
        decided_by: String,
    },
}

impl Outcome {
    fn flag(&self) -> ResponseFlag {
        match self {
            Self::Done => ResponseFlag::None,
            Self::Failed { flag, .. } | Self::Refused { flag, .. } => *flag,
        }
    }
}

/// An address in 20 bytes instead of 32: flow labels and scopes never reach a log line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoint {
    ip: IpAddr,
    port: u16,
}

impl Endpoint {
    fn new(address: SocketAddr) -> Self {
        Self {
            ip: address.ip(),
            port: address.port(),
        }
    }

    pub(crate) fn address(self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

/// A connection that has been counted as opened.
///
/// End it with [`Connection::finish`]. Dropping it without that, as a drain does when it aborts the
/// task, still closes the counts and writes the line, with an error that says so.
#[derive(Debug)]
pub struct Connection {
    telemetry: Telemetry,
    route: Arc<Route>,
    started: Instant,
    source: Endpoint,
    destination: Endpoint,
    hbone_target: Option<Endpoint>,
    finished: bool,
    sent: AtomicU64,
    received: AtomicU64,
}

// Multiplied by every live connection, so its size is a promise.
const _: () = assert!(size_of::<Connection>() <= 128);

impl Connection {
    pub(crate) fn open(telemetry: &Telemetry, start: &ConnectionStart) -> Self {
        let subject = Subject {
            direction: start.direction,
            security: start.security,
            parties: &start.parties,
            source_identity: start.source_identity.as_ref(),
            destination_identity: start.destination_identity.as_ref(),
        };
        let route = telemetry.shared().series.resolve(&subject, start.started);
        route.series.opened.fetch_add(1, Ordering::Relaxed);
        telemetry
            .shared()
            .open_gauge(start.direction)
            .fetch_add(1, Ordering::Relaxed);
        let connection = Self {
            telemetry: telemetry.clone(),
            route,
            started: start.started,
            source: Endpoint::new(start.source),
            destination: Endpoint::new(start.destination),
            hbone_target: start.hbone_target.map(Endpoint::new),
            finished: false,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        };
        if telemetry.shared().access_enabled(tracing::Level::DEBUG) {
            access::opened(telemetry, &connection.facts());
        }
        connection
    }

    /// Counts bytes given to the downstream side (the client of this proxy).
    pub fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.route.series.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes taken from the downstream side (the client of this proxy).
    pub fn add_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
        self.route
            .series
            .received
            .fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes so far: given to the downstream side, taken from it.
    pub fn bytes(&self) -> (u64, u64) {
        (
            self.sent.load(Ordering::Relaxed),
            self.received.load(Ordering::Relaxed),
        )
    }

    /// Closes the counts and writes the access line.
    pub fn finish(mut self, now: Instant, outcome: &Outcome) {
        let ending = match outcome {
            Outcome::Done => access::Ending::Complete,
            Outcome::Failed { error, .. } => access::Ending::Error {
                error,
                decided_by: "",
            },
            Outcome::Refused {
                error, decided_by, ..
            } => access::Ending::Error { error, decided_by },
        };
        self.close(now, outcome.flag(), &ending);
    }

    fn close(&mut self, now: Instant, flag: ResponseFlag, ending: &access::Ending<'_>) {
        self.finished = true;
        let shared = self.telemetry.shared();
        let slot = FLAGS.iter().position(|known| *known == flag).unwrap_or(0);
        self.route.series.closed[slot].fetch_add(1, Ordering::Relaxed);
        if flag != ResponseFlag::None {
            self.route.series.failed[slot].fetch_add(1, Ordering::Relaxed);
        }
        shared
            .open_gauge(self.route.direction)
            .fetch_sub(1, Ordering::Relaxed);
        shared.series.touch(&self.route, now);
        if shared.access_enabled(ending.level()) {
            let took = now.saturating_duration_since(self.started);
            access::complete(&self.telemetry, &self.facts(), took, ending);
        }
    }

    fn facts(&self) -> access::Facts<'_> {
        let (downstream_sent, downstream_received) = self.bytes();
        // The metrics' direction is seen from the downstream side. For the log of an outbound
        // connection "sent" is what the pod sent, which is what we received from downstream.
        let (bytes_sent, bytes_recv) = match self.route.direction {
            Direction::Outbound => (downstream_received, downstream_sent),
            Direction::Inbound => (downstream_sent, downstream_received),
        };
        access::Facts {
            source: self.source.address(),
            destination: self.destination.address(),
            hbone_target: self.hbone_target.map(Endpoint::address),
            parts: &self.route.log,
            bytes_sent,
            bytes_recv,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !self.finished {
            let error = "connection drain: closed before both sides had finished";
            let ending = access::Ending::Error {
                error,
                decided_by: "",
            };
            self.close(Instant::now(), ResponseFlag::None, &ending);
        }
    }
}
