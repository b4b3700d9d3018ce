//! What can go wrong in the conversation with the agent.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use cni_plugin_handoff::{EncodeError, Failure, MessageError, Reply, SPOKEN, Upgrade};

/// Why the agent did not do its part. Each is told apart for the operator; none leaves a pod
/// half in the mesh, because the agent undoes what it did when the connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// Its socket is not there.
    #[error("the node agent is not running: there is no socket {}", .0.display())]
    Absent(PathBuf),
    /// Its socket is there, but nobody listens.
    #[error("the node agent is not running: nobody listens on {}", .0.display())]
    NotListening(PathBuf),
    /// The kernel refused for another reason.
    #[error("the node agent cannot be reached through {}: {why}", .socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The kernel's reason.
        why: io::Error,
    },
    /// It is there but says nothing.
    #[error("the node agent hangs: it did not {awaited} within {waited:.1?}")]
    Hung {
        /// What was waited for.
        awaited: &'static str,
        /// How long, since the call began talking.
        waited: Duration,
    },
    /// It went away in the middle.
    #[error("the node agent went away before it could {awaited}: {why}")]
    Gone {
        /// What was waited for.
        awaited: &'static str,
        /// What the connection showed.
        why: String,
    },
    /// Its bytes are no frame.
    #[error("what answers on {} is not the node agent: {why}", .socket.display())]
    Rubbish {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A reply that does not answer the request.
    #[error("the node agent answered \"{reply}\", which is no answer to {asked}")]
    OutOfTurn {
        /// What came.
        reply: &'static str,
        /// What was asked.
        asked: &'static str,
    },
    /// No version in common, says the agent.
    #[error(
        "the node agent speaks versions {}-{} of the plugin protocol, this plugin {}-{}: upgrade the {}",
        .0.min, .0.max, SPOKEN.min, SPOKEN.max, .0.which
    )]
    Versions(Upgrade),
    /// No version in common, as its frames show.
    #[error("{0}")]
    Speech(MessageError),
    /// It runs as a user that must not be obeyed.
    #[error("what answers on {} runs as user {uid}, neither root nor the plugin's own", .socket.display())]
    Untrusted {
        /// The socket.
        socket: PathBuf,
        /// Who serves it.
        uid: u32,
    },
    /// It said no.
    #[error("{}", .0.message)]
    Refused(Failure),
    /// The request cannot be sent: the plugin's own fault.
    #[error("the request to the node agent cannot be written: {0}")]
    Message(#[from] EncodeError),
}

/// What a reply is called when it comes out of turn.
pub(crate) fn name(reply: &Reply) -> &'static str {
    match reply {
        Reply::NotInMesh { .. } => "not in the mesh",
        Reply::Install { .. } => "install",
        Reply::Admitted { .. } => "admitted",
        Reply::Done { .. } => "done",
        Reply::Checked { .. } => "checked",
        Reply::Ready => "ready",
        Reply::NotReady { .. } => "not ready",
        Reply::Failed(_) => "failed",
        Reply::Upgrade(_) => "upgrade",
    }
}

/// A reply that does not answer what was asked.
pub(crate) fn out_of_turn(reply: &Reply, asked: &'static str) -> AgentError {
    AgentError::OutOfTurn {
        reply: name(reply),
        asked,
    }
}
