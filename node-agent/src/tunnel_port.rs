//! The agent's way to the data plane: its words on one side, the tunnel's on the other.

use std::os::fd::OwnedFd;
use std::time::Duration;

use node_agent_enrollment::PodRecord;
use tunnel::{AdmitError, AdmitPod, TunnelHandle};
use tunnel_model::{Identity, PodUid};

use crate::world::WorldError;

/// The data plane, as the agent uses it.
#[derive(Debug, Clone)]
pub(crate) struct TunnelPort(pub(crate) TunnelHandle);

impl TunnelPort {
    /// Serves the pod; its listeners exist on return.
    pub(crate) async fn admit(
        &self,
        record: &PodRecord,
        identity: Identity,
        netns: OwnedFd,
    ) -> Result<(), WorldError> {
        let pod = AdmitPod {
            uid: PodUid::from(record.pod.key().as_str()),
            name: record.pod.name.as_str().into(),
            namespace: record.pod.namespace.as_str().into(),
            identity,
            netns,
            ips: record.addresses.clone(),
        };
        self.0
            .admit(pod)
            .await
            .map_err(|error: AdmitError| WorldError::passing(error))
    }

    /// Stops serving the pod; harmless if it is not served.
    pub(crate) async fn release(&self, uid: &PodUid) {
        self.0.release(uid).await;
    }

    /// Tries the way through the pod's rules to its listeners.
    pub(crate) async fn probe(&self, uid: &PodUid) -> Result<(), WorldError> {
        self.0.probe(uid, true).await.map_err(WorldError::passing)
    }

    /// Whether the pod is served.
    pub(crate) fn serves(&self, uid: &PodUid) -> bool {
        self.0.status().iter().any(|pod| pod.uid == *uid)
    }

    /// How many connections there are.
    pub(crate) async fn connections(&self) -> usize {
        self.0.connections().await.values().sum()
    }

    /// Whether every thread that moves traffic gives a sign of life in time.
    pub(crate) async fn alive(&self, patience: Duration) -> bool {
        self.0.alive(patience).await
    }

    /// Serves what the pod has to its end, bounded; how many were left.
    pub(crate) async fn drain_pod(&self, uid: &PodUid, patience: Duration) -> usize {
        self.0.drain_pod(uid, patience).await.left
    }

    /// Ends all connections in order, as far as time permits; how many were cut.
    pub(crate) async fn drain(&self, patience: Duration) -> usize {
        self.0.drain(patience).await.left
    }
}
