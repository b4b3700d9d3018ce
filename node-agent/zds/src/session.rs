//! One session with the agent after another.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use prost::Message;
use tokio::time::sleep;

use crate::message::{Ack, AddWorkload, Payload, WorkloadRequest, WorkloadResponse, ZdsHello};
use crate::wire::Packets;

/// First pause before dialling again, doubled up to [`PAUSE_MAX`]. Short: while there is no
/// session, new pods cannot start.
const PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A pod the agent hands over.
#[derive(Debug)]
pub struct AddedPod {
    /// Kubernetes uid.
    pub uid: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Service account.
    pub service_account: String,
    /// Its network namespace.
    pub netns: OwnedFd,
}

/// What a session needs from whoever serves pods.
pub trait Pods {
    /// Serves a pod; adding it again changes nothing.
    fn add(&self, pod: AddedPod) -> impl Future<Output = Result<(), String>>;
    /// Lets a pod go.
    fn delete(&self, uid: &str) -> impl Future<Output = ()>;
    /// Whether a session stands and its snapshot is complete.
    fn synced(&self, synced: bool);
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum ZdsError {
    /// The agent cannot be reached or went away; it is dialled again.
    #[error("node agent at the ZDS socket: {0}")]
    Io(#[from] io::Error),
    /// The agent sent what cannot be read.
    #[error("node agent sent an unreadable request: {0}")]
    Decode(#[from] prost::DecodeError),
    /// The agent broke the protocol.
    #[error("node agent broke the ZDS protocol: {0}")]
    Protocol(&'static str),
}

/// Dials the agent at `path` for ever; drop the future to stop.
pub async fn run(path: &Path, pods: &impl Pods) {
    let mut pause = PAUSE;
    let mut served = HashSet::new();
    loop {
        let ended = match Packets::connect(path) {
            Ok(packets) => session(&packets, pods, &mut served).await,
            Err(error) => Err(error.into()),
        };
        match ended {
            Ok(()) => {
                tracing::info!(socket = %path.display(), "node agent closed the ZDS session");
                pause = PAUSE;
            }
            Err(error) => {
                tracing::warn!(socket = %path.display(), %error, "no ZDS session, dialling again");
            }
        }
        // Pods that are served stay served: only the agent can say that they are gone.
        pods.synced(false);
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// One session, until the agent closes it.
pub(crate) async fn session(
    packets: &Packets,
    pods: &impl Pods,
    served: &mut HashSet<String>,
) -> Result<(), ZdsError> {
    packets.send(&ZdsHello { version: 1 }).await?;
    let mut named = Some(HashSet::new());
    while let Some((bytes, fds)) = packets.receive().await? {
        let request = WorkloadRequest::decode(&*bytes)?;
        let payload = request
            .payload
            .ok_or(ZdsError::Protocol("a request without content"))?;
        let error = obey(pods, served, &mut named, payload, fds).await?;
        packets
            .send(&WorkloadResponse {
                ack: Some(Ack { error }),
            })
            .await?;
    }
    Ok(())
}

/// Carries out one request; the answer is the error to report, empty when there is none.
async fn obey(
    pods: &impl Pods,
    served: &mut HashSet<String>,
    named: &mut Option<HashSet<String>>,
    payload: Payload,
    mut fds: Vec<OwnedFd>,
) -> Result<String, ZdsError> {
    match payload {
        Payload::Add(add) => {
            let (Some(netns), true) = (fds.pop(), fds.is_empty()) else {
                return Err(ZdsError::Protocol("add needs exactly one descriptor"));
            };
            let pod = pod(add, netns)?;
            let uid = pod.uid.clone();
            if let Some(named) = named {
                named.insert(uid.clone());
            }
            match pods.add(pod).await {
                Ok(()) => {
                    served.insert(uid);
                    Ok(String::new())
                }
                Err(error) => Ok(error),
            }
        }
        Payload::Del(del) => {
            served.remove(&del.uid);
            pods.delete(&del.uid).await;
            Ok(String::new())
        }
        Payload::Keep(keep) => {
            let Some(named) = named else {
                return Err(ZdsError::Protocol("keep after the snapshot"));
            };
            named.insert(keep.uid);
            Ok(String::new())
        }
        Payload::SnapshotSent(_) => {
            let Some(named) = named.take() else {
                return Err(ZdsError::Protocol("a second snapshot"));
            };
            let gone: Vec<String> = served.difference(&named).cloned().collect();
            for uid in gone {
                served.remove(&uid);
                pods.delete(&uid).await;
            }
            pods.synced(true);
            Ok(String::new())
        }
    }
}

fn pod(add: AddWorkload, netns: OwnedFd) -> Result<AddedPod, ZdsError> {
    let info = add
        .workload_info
        .ok_or(ZdsError::Protocol("add without workload_info"))?;
    Ok(AddedPod {
        uid: add.uid,
        name: info.name,
        namespace: info.namespace,
        service_account: info.service_account,
        netns,
    })
}
