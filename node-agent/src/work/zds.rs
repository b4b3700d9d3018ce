//! The tunnel driven by a foreign node agent over ZDS, which then owns pods and their rules.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use node_agent_admin::PendingTask;
use node_agent_zds::{AddedPod, Pods};
use tokio::sync::Notify;
use tunnel::{AdmitPod, TunnelHandle};
use tunnel_credentials::Credentials;
use tunnel_model::{Identity, PodUid};

/// What a ZDS session acts on.
pub(super) struct ZdsPods {
    pub(super) tunnel: TunnelHandle,
    pub(super) credentials: Credentials,
    pub(super) trust_domain: Arc<str>,
    pub(super) pending: RefCell<Option<PendingTask>>,
    /// Told when all pods are known.
    pub(super) synced: Arc<Notify>,
    /// Whose certificate is held for which pod, so that it is given up with the pod.
    pub(super) held: RefCell<HashMap<String, Identity>>,
}

impl Pods for ZdsPods {
    async fn add(&self, pod: AddedPod) -> Result<(), String> {
        let AddedPod {
            uid,
            name,
            namespace,
            service_account,
            netns,
        } = pod;
        let identity = Identity::new(&self.trust_domain, &namespace, &service_account)
            .map_err(|error| error.to_string())?;
        self.credentials.hold(identity.clone());
        let before = self.held.borrow_mut().insert(uid.clone(), identity.clone());
        if let Some(before) = before {
            self.credentials.release(&before);
        }
        let admitted = self
            .tunnel
            .admit(AdmitPod {
                uid: PodUid::from(uid.as_str()),
                name: name.as_str().into(),
                namespace: namespace.as_str().into(),
                identity,
                netns,
                // A foreign agent does not say; the mesh file does.
                ips: Vec::new(),
            })
            .await;
        match admitted {
            Ok(()) => {
                tracing::info!(uid, name, namespace, "pod added by the foreign agent");
                Ok(())
            }
            Err(error) => {
                tracing::warn!(uid, name, namespace, %error, "pod cannot be added");
                self.forget(&uid);
                Err(error.to_string())
            }
        }
    }

    async fn delete(&self, uid: &str) {
        self.tunnel.release(&PodUid::from(uid)).await;
        self.forget(uid);
        tracing::info!(uid, "pod deleted by the foreign agent");
    }

    fn synced(&self, synced: bool) {
        if synced {
            self.pending.borrow_mut().take();
            self.synced.notify_one();
        }
    }
}

impl ZdsPods {
    fn forget(&self, uid: &str) {
        if let Some(identity) = self.held.borrow_mut().remove(uid) {
            self.credentials.release(&identity);
        }
    }
}
