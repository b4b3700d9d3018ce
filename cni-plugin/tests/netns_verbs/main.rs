//! The shipped binary, run as a container runtime runs it, in throw-away network namespaces. Root is
//! needed, and so is iptables; without them these tests fail.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod agents;
mod script;
mod specification;
mod support;
