//! Between plugin and agent.
