//! Why a pod could not be enrolled, and how that is put to the runtime.

use std::time::Duration;

use cni_plugin_handoff::Failure;
use node_agent_enrollment::{Source, TableError};

use super::link::LinkError;
use crate::pods::PodsError;
use crate::state::NotDurable;
use crate::world::WorldError;

/// Why a pod could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AddError {
    /// The agent starts or stops.
    #[error("{0}")]
    NotReady(String),
    /// Nobody can tell whether the pod belongs to the mesh.
    #[error("it cannot be told whether the pod belongs to the mesh: {reason}")]
    Unknown {
        /// What is missing.
        reason: String,
        /// Who should have said so.
        teller: Option<Source>,
    },
    /// The plugin sent no namespace.
    #[error("the plugin sent no network namespace descriptor")]
    NoNamespace,
    /// What it sent cannot be used.
    #[error("the pod's network namespace cannot be used: {0}")]
    Namespace(#[source] WorldError),
    /// An address is none.
    #[error("{0:?} is not an address")]
    Address(String),
    /// The listeners could not be opened.
    #[error("the pod's listeners cannot be opened: {0}")]
    Listeners(#[source] WorldError),
    /// The plugin could not install the rules.
    #[error("the redirect rules could not be installed: {0}")]
    Install(String),
    /// The way through the rules does not work.
    #[error("the self-probe through the pod's rules failed: {0}")]
    Probe(#[source] WorldError),
    /// The certificate did not come, and the settings say not to go on without.
    #[error("no certificate within {waited:?}: {why}")]
    Certificate {
        /// How long it was waited for.
        waited: Duration,
        /// What the authority said last.
        why: String,
    },
    /// The pod could not be put on record.
    #[error(transparent)]
    NotDurable(#[from] NotDurable),
    /// The time was up.
    #[error("the pod could not be enrolled within {0:?}")]
    Deadline(Duration),
    /// The conversation ended.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The table refused.
    #[error(transparent)]
    Pods(#[from] PodsError),
    /// The plan cannot be put on record: the agent's own fault.
    #[error("the plan cannot be written: {0}")]
    Plan(#[from] serde_json::Error),
}

impl AddError {
    /// The word for an event on the pod, if people should know of it there. What passes at the
    /// runtime's next attempt they need not.
    pub(crate) fn complaint(&self) -> Option<&'static str> {
        match self {
            Self::NotReady(_) | Self::Link(_) => None,
            Self::Unknown { .. } => Some("EnrolmentRefused"),
            _ => Some("EnrolmentFailed"),
        }
    }

    /// How it is put to the runtime.
    pub(crate) fn failure(&self) -> Failure {
        let (retry, advice) = match self {
            Self::NotReady(_) => (true, "the runtime's next attempt succeeds once it is ready"),
            Self::Unknown {
                teller: Some(Source::Kubernetes(_)),
                ..
            } => (
                true,
                "the runtime's next attempt asks the API server again; see the node agent's \
                 status for the connection to it",
            ),
            Self::Unknown { .. } => (
                false,
                "supply what is missing; the pod starts by itself then",
            ),
            Self::NoNamespace | Self::Address(_) => (
                false,
                "the plugin and the agent do not fit together; upgrade both",
            ),
            Self::Namespace(error) | Self::Listeners(error) | Self::Probe(error) => {
                (error.retry, "see the node agent's log for this pod")
            }
            Self::Install(_) => (
                true,
                "check that the node's kernel and iptables can do this",
            ),
            Self::Certificate { .. } => (true, "check the certificate authority"),
            Self::NotDurable(_) => (true, "check the disk of the agent's stateDir"),
            Self::Deadline(_) => (true, "the node may be overloaded"),
            Self::Link(_) | Self::Pods(_) | Self::Plan(_) => {
                (true, "see the node agent's log for this pod")
            }
        };
        Failure {
            code: if retry { TRY_AGAIN_LATER } else { NOT_ENROLLED },
            message: format!("pod not enrolled: {self}"),
            details: advice.to_owned(),
            retry,
        }
    }
}

impl From<TableError> for AddError {
    fn from(error: TableError) -> Self {
        Self::Pods(error.into())
    }
}

/// The specification's code for a condition that passes.
const TRY_AGAIN_LATER: u32 = 11;
/// Our code for one that stays until somebody acts.
const NOT_ENROLLED: u32 = 100;
