//! The connection to the API server, as JSON.

use std::time::{SystemTime, UNIX_EPOCH};

use node_agent_cluster::{Link, LinkStatus, Status};
use serde_json::{Value, json};

/// Both watches, and how much is known.
pub(super) fn status(status: &Status) -> Value {
    json!({
        "pods": link(&status.pods, status.counts.pods),
        "namespaces": link(&status.namespaces, status.counts.namespaces),
    })
}

fn link(status: &LinkStatus, known: usize) -> Value {
    let (connected, since, why) = match &status.link {
        Link::Up { since } => (true, since, None),
        Link::Down { since, why } => (false, since, Some(why)),
    };
    json!({
        "connected": connected,
        "since": seconds(*since),
        "why": why,
        "listed": status.listed.map(seconds),
        "known": known,
    })
}

fn seconds(at: SystemTime) -> u64 {
    // Before 1970 there was no API server.
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
