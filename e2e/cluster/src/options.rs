//! What a cluster shall have.

use crate::istio::Istio;
use serde_json::Value;

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// Whether there is a control plane of the mesh.
    pub istio: Istio,
    /// The secret with istiod's certificate authority, if it is not to make one of its own.
    pub cacerts: Option<Value>,
}

impl Default for Options {
    /// Two nodes, `a` and `b`, and istiod.
    fn default() -> Self {
        Self {
            nodes: ["a", "b"].map(str::to_owned).to_vec(),
            istio: Istio::Installed,
            cacerts: None,
        }
    }
}
