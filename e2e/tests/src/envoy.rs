//! Envoy as a process.
