//! What is known of one enrolled pod, and the shape in which it survives a restart.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The version of the persisted shape.
pub const SNAPSHOT_VERSION: u32 = 1;

/// A pod as the runtime names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid, which not every runtime tells.
    pub uid: Option<String>,
}

impl PodRef {
    /// What tells this pod from all others: its uid, or else namespace and name.
    #[must_use]
    pub fn key(&self) -> PodKey {
        PodKey(match &self.uid {
            Some(uid) => uid.as_str().into(),
            None => format!("{}/{}", self.namespace, self.name).into(),
        })
    }

    /// Whether both may mean the same pod: a uid that is not known on both sides tells nothing.
    #[must_use]
    pub fn may_be(&self, other: &Self) -> bool {
        let uids = self.uid.as_ref().zip(other.uid.as_ref());
        self.namespace == other.namespace
            && self.name == other.name
            && uids.is_none_or(|(one, other)| one == other)
    }
}

impl fmt::Display for PodRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What tells a pod from all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey(Arc<str>);

impl PodKey {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One attachment of a container to a network: what the runtime adds and deletes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// The sandbox's id at the runtime.
    pub container_id: String,
    /// The interface's name in the pod.
    pub ifname: String,
}

impl AttachmentKey {
    /// Stands for the attachment of a pod that was found running, as long as nobody knows how the
    /// runtime names its sandbox. No runtime names one so.
    #[must_use]
    pub fn assumed(uid: &str, ifname: &str) -> Self {
        Self {
            container_id: format!("{ASSUMED}{uid}"),
            ifname: ifname.to_owned(),
        }
    }

    /// Whether it stands for one whose name is not known.
    #[must_use]
    pub fn is_assumed(&self) -> bool {
        self.container_id.starts_with(ASSUMED)
    }
}

/// Has a character that is in no sandbox's id.
const ASSUMED: &str = "pod:";

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container_id, self.ifname)
    }
}

/// Which network namespace a path or descriptor really means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NamespaceId {
    /// Device of the namespace file system.
    pub device: u64,
    /// Inode of the namespace.
    pub inode: u64,
}

/// What is known of one attachment of a pod of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRecord {
    /// The attachment.
    #[serde(flatten)]
    pub attachment: AttachmentKey,
    /// The pod.
    pub pod: PodRef,
    /// The service account of its identity.
    pub service_account: String,
    /// Path of its network namespace, if the agent can see it there; without it a restart cannot
    /// bring the pod back.
    pub netns: Option<String>,
    /// Which namespace that path meant when the pod was enrolled.
    pub namespace_id: NamespaceId,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The plan of its rules; opaque here, the redirect part reads it.
    pub plan: serde_json::Value,
}

/// What a restart does with a recorded attachment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// It is served again.
    #[default]
    In,
    /// It was on its way in or out while it ran: it is taken out to the end.
    Out,
}

impl Phase {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_in(&self) -> bool {
        *self == Self::In
    }
}

/// An attachment in the persisted state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// What is known of it.
    #[serde(flatten)]
    pub record: Arc<PodRecord>,
    /// Whether the plugin was told that the pod may start. If not, its ADD may have failed since,
    /// and only what the kernel shows tells whether the pod is in the mesh.
    pub admitted: bool,
    /// What a restart does with it.
    #[serde(default, skip_serializing_if = "Phase::is_in")]
    pub phase: Phase,
}

/// The persisted state: all attachments that a restart must bring back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The version of the shape.
    pub version: u32,
    /// The attachments.
    pub pods: Vec<Recorded>,
}

/// A persisted state that cannot be used. It is set aside, never repaired by guessing.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is torn or was edited.
    #[error("the state is damaged: {0}")]
    Damaged(#[source] serde_json::Error),
    /// It comes from an agent that writes another version.
    #[error(
        "the state has version {found}, this agent reads version {SNAPSHOT_VERSION}; it was \
         written by a different release"
    )]
    Version {
        /// The version found.
        found: u32,
    },
}

impl Snapshot {
    /// A snapshot of these attachments.
    #[must_use]
    pub fn of(pods: Vec<Recorded>) -> Self {
        Self {
            version: SNAPSHOT_VERSION,
            pods,
        }
    }

    /// The bytes to persist.
    ///
    /// # Errors
    /// Only if a plan cannot be written as JSON, which is the agent's own fault.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads persisted bytes.
    ///
    /// # Errors
    /// When they are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotError> {
        // The version is read first, so that a newer shape is called newer and not damaged.
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } =
            serde_json::from_slice(bytes).map_err(SnapshotError::Damaged)?;
        if version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version { found: version });
        }
        serde_json::from_slice(bytes).map_err(SnapshotError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn snapshot() -> Snapshot {
        let record = Arc::new(PodRecord {
            attachment: AttachmentKey {
                container_id: "c1".into(),
                ifname: "eth0".into(),
            },
            pod: PodRef {
                namespace: "shop".into(),
                name: "cart".into(),
                uid: Some("u".into()),
            },
            service_account: "cart".into(),
            netns: Some("/run/netns/x".into()),
            namespace_id: NamespaceId {
                device: 4,
                inode: 4_026_532_000,
            },
            addresses: vec!["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
            plan: json!({"version": 1}),
        });
        Snapshot::of(vec![Recorded {
            record,
            admitted: true,
            phase: Phase::In,
        }])
    }

    #[test]
    fn what_is_written_is_read_again() {
        let bytes = snapshot().encode().unwrap();
        assert_eq!(Snapshot::decode(&bytes).unwrap(), snapshot());
    }

    #[test]
    fn what_is_on_its_way_is_read_as_such_and_older_files_as_in() {
        let mut out = snapshot();
        out.pods[0].phase = Phase::Out;
        assert_eq!(Snapshot::decode(&out.encode().unwrap()).unwrap(), out);
        let text = String::from_utf8(snapshot().encode().unwrap()).unwrap();
        assert!(!text.contains("phase"), "an older agent reads it: {text}");
    }

    #[test]
    fn a_torn_file_is_damaged_at_every_length() {
        let bytes = snapshot().encode().unwrap();
        for length in 0..bytes.len() {
            let outcome = Snapshot::decode(&bytes[..length]);
            assert!(
                matches!(outcome, Err(SnapshotError::Damaged(_))),
                "{length}"
            );
        }
    }

    #[test]
    fn another_version_is_named() {
        let error = Snapshot::decode(br#"{"version":2,"pods":{"new":"shape"}}"#).unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }

    #[test]
    fn a_pod_without_uid_is_told_by_its_name() {
        let mut pod = snapshot().pods[0].record.pod.clone();
        assert_eq!(pod.key().as_str(), "u");
        pod.uid = None;
        assert_eq!(pod.key().as_str(), "shop/cart");
    }
}
