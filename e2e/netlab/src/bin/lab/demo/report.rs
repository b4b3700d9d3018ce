//! What the demo found, as data: printed by `print.rs`, written by `--json`, judged here.

use serde::Serialize;
use std::collections::BTreeMap;

/// Everything.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Whether all is as it must be.
    pub(super) ok: bool,
    /// What is not, in sentences.
    pub(super) problems: Vec<String>,
    /// How long the whole took.
    pub(super) seconds: f64,
    /// Calls in the mesh that had to succeed.
    pub(super) requests: Requests,
    /// The kinds of traffic.
    pub(super) kinds: Vec<&'static str>,
    /// The address families.
    pub(super) families: Vec<&'static str>,
    /// One entry for each kind and family.
    pub(super) calls: Vec<Call>,
    /// Both identities, by each side's access line.
    pub(super) identities: Identities,
    /// The call that policy forbids.
    pub(super) denied: Forbidden,
    /// The call from outside, in clear, that policy forbids too.
    pub(super) outsider: Forbidden,
    /// How often the mesh calls' payload was seen in clear between the nodes.
    pub(super) clear_payload_occurrences: usize,
    /// How often the payload of a call that left the mesh was seen: proof that the search finds.
    pub(super) control_occurrences: usize,
    /// What went over the wire between the nodes.
    pub(super) ports: Vec<PortUse>,
    /// Times of requests in the mesh and of the same between pods outside.
    pub(super) latency: Latency,
}

/// Made and failed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Requests {
    pub(super) made: u64,
    pub(super) failed: u64,
}

/// Calls of one kind in one family.
#[derive(Debug, Serialize)]
pub(super) struct Call {
    pub(super) kind: &'static str,
    pub(super) family: &'static str,
    pub(super) to: String,
    pub(super) made: u64,
    pub(super) failed: u64,
    /// The caller's addresses as the server's sockets show them; empty where the kind does not tell.
    pub(super) server_saw: Vec<String>,
    pub(super) errors: BTreeMap<String, u64>,
}

/// Who talked, as one side wrote it down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Pair {
    pub(super) source: String,
    pub(super) destination: String,
}

/// As both sides wrote it down.
#[derive(Debug, Default, Serialize)]
pub(super) struct Identities {
    pub(super) client_side: Pair,
    pub(super) server_side: Pair,
    /// Inbound lines of successful connections on the server's side.
    pub(super) access_lines: usize,
}

/// Calls that must not pass.
#[derive(Debug, Default, Serialize)]
pub(super) struct Forbidden {
    pub(super) from: String,
    pub(super) made: u64,
    pub(super) refused: u64,
    /// What the caller noticed.
    pub(super) caller_saw: Vec<String>,
    /// What the server's node said.
    pub(super) reason: String,
    /// The caller's identity in that line; empty without one.
    pub(super) identity: String,
}

/// Traffic between the nodes to one port.
#[derive(Debug, Serialize)]
pub(super) struct PortUse {
    pub(super) family: &'static str,
    pub(super) port: u16,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) connections: u64,
    pub(super) meaning: &'static str,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Times {
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

/// Requests on one connection, and each on a new one.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Pace {
    pub(super) keep_alive: Times,
    pub(super) new_connection: Times,
}

/// In the mesh, and the same without.
#[derive(Debug, Default, Serialize)]
pub(super) struct Latency {
    pub(super) mesh: Pace,
    pub(super) without_mesh: Pace,
}

impl Report {
    /// Notes a problem unless `holds`.
    pub(super) fn must(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(otherwise());
        }
    }
}
