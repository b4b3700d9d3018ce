//! The messages. Members may be added with a default within one protocol version, because readers
//! ignore what they do not know; anything else needs a new version.

use node_agent_redirect::RedirectPlan;
use serde::{Deserialize, Serialize};

use crate::version::Upgrade;

/// What the plugin asks; the first frame of every connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A pod's interface exists; enrol the pod if it belongs to the mesh. The descriptor of the
    /// pod's network namespace rides with this frame.
    Add(AddRequest),
    /// A pod goes away; forget it. The descriptor rides along if the namespace still exists.
    Del(DelRequest),
    /// Is the pod still as ADD left it? The descriptor rides along.
    Check(CheckRequest),
    /// These attachments exist; forget every other.
    Gc(GcRequest),
    /// Could a pod be enrolled now?
    Status,
}

/// Request of CNI ADD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddRequest {
    /// Version of the plugin's binary, for the agent's log.
    #[serde(default)]
    pub plugin_version: String,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`: for the log and the agent's record, never opened by the agent in place of the
    /// descriptor.
    pub netns: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// The pod, as the runtime names it.
    pub pod: PodRef,
    /// Addresses of `prevResult`, each `ip/prefix`.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Milliseconds the plugin has left; an answer after that finds nobody.
    pub deadline_ms: u64,
}

/// Request of CNI DEL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelRequest {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_NETNS`, absent when the runtime has removed the namespace already.
    #[serde(default)]
    pub netns: Option<String>,
    /// The pod, if the runtime still names it.
    #[serde(default)]
    pub pod: Option<PodRef>,
    /// Milliseconds the plugin has left.
    pub deadline_ms: u64,
}

/// Request of CNI CHECK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRequest {
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// `CNI_NETNS`.
    pub netns: String,
    /// The pod, as the runtime names it.
    pub pod: PodRef,
    /// Addresses of `prevResult`, each `ip/prefix`.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Milliseconds the plugin has left.
    pub deadline_ms: u64,
}

/// Request of CNI GC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcRequest {
    /// All attachments the runtime knows of; an empty list means that none is left.
    pub valid_attachments: Vec<Attachment>,
}

/// One interface of one container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Attachment {
    /// The container.
    pub container_id: String,
    /// Its interface.
    pub ifname: String,
}

/// A pod, as the runtime names it in `CNI_ARGS`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodRef {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Uid; older runtimes do not say it.
    #[serde(default)]
    pub uid: Option<String>,
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// ADD, CHECK: the pod is none of our business; leave it alone.
    NotInMesh {
        /// Why, for the log.
        reason: String,
    },
    /// ADD: the pod's listeners exist; install this and say [`Report`].
    Install {
        /// The rules and routes.
        plan: RedirectPlan,
    },
    /// ADD: the self-probe passed and the pod is on record; it may start.
    Admitted {
        /// Whether its traffic can flow at once.
        certificate: CertificateState,
    },
    /// DEL, GC: forgotten, or never known.
    Done {
        /// Whether there was anything to forget.
        was_enrolled: bool,
        /// What was installed in the pod, to be taken out if the namespace still exists.
        #[serde(default)]
        plan: Option<RedirectPlan>,
    },
    /// CHECK: what the agent sees. Rules are the plugin's to check, against the plan.
    Checked {
        /// What should be installed in the pod; none if the pod is not enrolled.
        #[serde(default)]
        plan: Option<RedirectPlan>,
        /// What is wrong, each a sentence; empty if nothing is.
        #[serde(default)]
        problems: Vec<String>,
    },
    /// STATUS: a pod can be enrolled.
    Ready,
    /// STATUS: it cannot.
    NotReady {
        /// Why not.
        reason: String,
    },
    /// The request failed; nothing is left of it on the agent's side.
    Failed(Failure),
    /// The two sides do not speak a common version. This one shape is the same in every version.
    Upgrade(Upgrade),
}

/// Why the agent could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Error code of the CNI specification, or ours (100 and above).
    pub code: u32,
    /// What went wrong, for the pod's events.
    pub message: String,
    /// More, and what to do about it.
    #[serde(default)]
    pub details: String,
    /// Whether the same request may succeed later without anybody doing anything.
    #[serde(default)]
    pub retry: bool,
}

/// How far the pod's certificate is when it is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateState {
    /// There is one.
    Ready,
    /// There is none yet; the pod's mesh traffic waits for it, never in clear.
    Held,
}

/// What the plugin says after [`Reply::Install`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The plan is in force in the pod's namespace.
    Installed {
        /// How long that took.
        took_micros: u64,
    },
    /// It could not be installed, and nothing of it is left.
    InstallFailed {
        /// Why.
        message: String,
    },
}
