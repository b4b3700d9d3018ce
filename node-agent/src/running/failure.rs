//! Why a pod that runs could not be taken in or out.

use std::net::IpAddr;
use std::time::Duration;

use node_agent_enrollment::Source;

use crate::pods::PodsError;
use crate::state::NotDurable;
use crate::world::WorldError;

/// What to do about a place that is not the pod's.
pub(super) fn advice(source: Option<Source>) -> &'static str {
    match source {
        Some(Source::Kubernetes(_)) => {
            "the pod is looked for again; if that lasts, mount the host's directory of namespaces \
             into the agent's pod"
        }
        Some(Source::File) | None => {
            "correct netns and addresses in the pods file, or mount the host's directory of \
             namespaces into the agent's pod"
        }
    }
}

/// Why a pod that runs could not be taken in or out; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There is no namespace where the pod is said to run.
    #[error("there is no pod's network namespace at {path}; {advice}")]
    NoNamespace {
        /// The path.
        path: String,
        /// What to do.
        advice: &'static str,
    },
    /// It cannot be used.
    #[error("the pod's network namespace cannot be used: {0}")]
    Namespace(#[source] WorldError),
    /// The agent never saw the namespace under a path.
    #[error(
        "the agent cannot see the pod's network namespace under a path; delete and re-create the pod"
    )]
    Invisible,
    /// The namespace is another pod's, or the pod's addresses are other ones.
    #[error("the namespace does not carry {missing}, which is said to be the pod's; {advice}")]
    Addresses {
        /// An address that is listed and not there.
        missing: IpAddr,
        /// What to do.
        advice: &'static str,
    },
    /// The pod's addresses are gone, so it cannot be told who lives there now.
    #[error("none of the pod's addresses is left in its namespace; its rules let nothing out")]
    LostAddresses,
    /// There is no certificate, and a running pod is not held.
    #[error("no certificate within {waited:?}: {why}; check the certificate authority")]
    Certificate {
        /// How long it was waited for.
        waited: Duration,
        /// What the authority said last.
        why: String,
    },
    /// The listeners could not be opened.
    #[error("the pod's listeners cannot be opened: {0}")]
    Listeners(#[source] WorldError),
    /// The rules could not be changed.
    #[error("the redirect rules cannot be changed: {0}")]
    Rules(#[source] WorldError),
    /// The way through the rules does not work.
    #[error("the self-probe through the pod's rules failed: {0}")]
    Probe(#[source] WorldError),
    /// The mesh could not be told.
    #[error("the pod cannot be announced to the mesh: {0}")]
    Announce(#[source] WorldError),
    /// The pod could not be put on record.
    #[error(transparent)]
    NotDurable(#[from] NotDurable),
    /// The table refused.
    #[error(transparent)]
    Pods(#[from] PodsError),
    /// A plan cannot be written or read: the agent's own fault.
    #[error("the plan on record cannot be used: {0}")]
    Plan(#[from] serde_json::Error),
    /// Somebody else has work to do on the pod, and comes first.
    #[error("the runtime works on the pod")]
    Wanted,
}
