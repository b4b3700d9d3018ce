//! How failures are put to the runtime: the specification's code where it has one, else ours.

use cni_plugin_handoff::Failure;
use cni_plugin_spec::{CniError, Code};

use crate::agent::AgentError;

/// The agent refused, and only somebody's action changes that. The agent uses it too.
const REFUSED: Code = Code::Own(100);
/// The redirect rules could not be installed or judged.
const RULES: Code = Code::Own(101);
/// What answered on the agent's socket does not speak the protocol.
const RUBBISH: Code = Code::Own(102);
/// Plugin and agent do not have a version in common.
const UPGRADE: Code = Code::Own(103);
/// What answered on the agent's socket must not be trusted.
const UNTRUSTED: Code = Code::Own(104);
/// CHECK found the pod otherwise than ADD left it.
const ALTERED: Code = Code::Own(105);
/// The plugin's own fault.
const INTERNAL: Code = Code::Own(106);

pub(crate) fn internal() -> CniError {
    CniError::new(INTERNAL, "the plugin failed in a way it should not have")
        .with_details("the runtime's log has the message of the panic; please report it")
}

/// The pod's namespace cannot be used.
pub(crate) fn namespace(path: &str, why: &impl ToString) -> CniError {
    let msg = format!(
        "CNI_NETNS is \"{}\", which cannot be used",
        path.escape_debug()
    );
    CniError::new(Code::InvalidEnvironment, msg).with_details(why.to_string())
}

pub(crate) fn rules(why: &impl ToString) -> CniError {
    CniError::new(
        RULES,
        format!("the pod's redirect rules: {}", why.to_string()),
    )
}

pub(crate) fn altered(problems: &[String]) -> CniError {
    let msg = format!(
        "the pod is not in the mesh as it should be: {}",
        problems.join("; ")
    );
    CniError::new(ALTERED, msg)
        .with_details("delete the pod to have it made anew, or restart the node agent")
}

/// The pod was told from STATUS that it cannot be enrolled now.
pub(crate) fn not_available(why: &impl ToString) -> CniError {
    CniError::new(
        Code::NotAvailable,
        format!("pods cannot be enrolled now: {}", why.to_string()),
    )
}

/// What the agent said, in the agent's words.
fn refused(failure: Failure) -> CniError {
    let fallback = if failure.retry {
        Code::TryAgainLater
    } else {
        REFUSED
    };
    let code = Code::from_number(failure.code).unwrap_or(fallback);
    CniError::new(code, failure.message).with_details(failure.details)
}

impl From<AgentError> for CniError {
    fn from(error: AgentError) -> Self {
        let (code, advice) = match error {
            AgentError::Refused(failure) => return refused(failure),
            AgentError::Absent(_)
            | AgentError::NotListening(_)
            | AgentError::Connect { .. }
            | AgentError::Hung { .. }
            | AgentError::Gone { .. } => (
                Code::TryAgainLater,
                "pods do not start without the node agent; the next attempt succeeds once it is \
                 back: look at the agent's pod and log on this node",
            ),
            AgentError::Rubbish { .. } | AgentError::OutOfTurn { .. } => (
                RUBBISH,
                "the socket may belong to something else, or plugin and agent do not fit \
                 together: check agent_socket, and upgrade both",
            ),
            AgentError::Versions(_) | AgentError::Speech { .. } => (
                UPGRADE,
                "pods do not start until both speak a common version",
            ),
            AgentError::Untrusted { .. } => (
                UNTRUSTED,
                "only root may serve the agent's socket: find out who made it, and check the mode \
                 of its directory",
            ),
            AgentError::Message(_) => (INTERNAL, "please report it"),
        };
        Self::new(code, error.to_string()).with_details(advice)
    }
}
