//! Nodes, pods and captured traffic for tests.
