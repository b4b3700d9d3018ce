//! Tells the data plane who is at an address that the mesh's state does not tell of: the API server
//! is asked which pod has it, and whether that is in the mesh is decided as for this node's pods.

use std::sync::Arc;
use std::time::Duration;

use node_agent_cluster::ClusterHandle;
use node_agent_enrollment::{Asked, Decision, ListedPod, OnUnknown, PodRef, Roster, decide_asked};
use node_agent_settings::Settings;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tunnel::{Occupant, Question};
use tunnel_model::{Identity, Protocol, Workload};

/// Who answers.
#[derive(Debug, Clone)]
pub(crate) struct Answers {
    cluster: ClusterHandle,
    roster: watch::Receiver<Option<Arc<Roster>>>,
    excluded_namespaces: Vec<String>,
    cluster_id: String,
    trust_domain: String,
    network: Arc<str>,
}

impl Answers {
    pub(crate) fn new(
        cluster: ClusterHandle,
        roster: watch::Receiver<Option<Arc<Roster>>>,
        settings: &Settings,
    ) -> Self {
        Self {
            cluster,
            roster,
            excluded_namespaces: settings.exclude_namespaces.clone(),
            cluster_id: settings.cluster_id.clone(),
            trust_domain: settings.trust_domain.clone(),
            network: settings.network.as_str().into(),
        }
    }

    /// Answers as long as somebody asks.
    pub(crate) async fn serve(self, mut questions: mpsc::Receiver<Question>) {
        let answers = Arc::new(self);
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut asking = JoinSet::new();
        while let Some(Question { ip, reply }) = questions.recv().await {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            if reply.is_closed() {
                continue;
            }
            let answers = Arc::clone(&answers);
            asking.spawn(async move {
                // Whoever asked may have given up.
                drop(reply.send(answers.occupant(ip).await));
                drop(place);
            });
            while asking.try_join_next().is_some() {}
        }
    }

    async fn occupant(&self, ip: std::net::IpAddr) -> Occupant {
        let pods = match self.cluster.occupants(ip, LIMIT).await {
            Ok(pods) => pods,
            Err(error) => return unknown(&error.to_string()),
        };
        let mut answer = Occupant::Outsider;
        for pod in pods {
            match self.judge(pod) {
                Occupant::Outsider => {}
                member @ Occupant::Member(_) => return member,
                unknown @ Occupant::Unknown { .. } => answer = unknown,
            }
        }
        answer
    }

    /// Captured pods say so. One that belongs to the mesh by its labels may be about to.
    fn judge(&self, pod: ListedPod) -> Occupant {
        let seen = pod.seen.as_ref();
        if seen.is_some_and(|seen| seen.redirection.as_deref() == Some("enabled")) {
            return self.member(&pod);
        }
        let name = PodRef {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone(),
        };
        let asked = Asked::Pod {
            pod: Box::new(pod),
            namespace: None,
        };
        let roster = self.roster.borrow().clone();
        let excluded = &self.excluded_namespaces;
        match decide_asked(roster.as_deref(), excluded, &name, &asked, OnUnknown::Fail) {
            Decision::NotInMesh { .. } => Occupant::Outsider,
            Decision::InMesh(member) => unknown(&format!(
                "pod {name} belongs to the mesh ({}), and its node has not captured it yet",
                member.reason
            )),
            Decision::Unknown { reason } => unknown(&reason),
        }
    }

    /// What the control plane would tell of it, as far as it is needed to reach it.
    fn member(&self, pod: &ListedPod) -> Occupant {
        let ListedPod {
            namespace,
            name,
            service_account,
            addresses,
            ..
        } = pod;
        let identity = match Identity::new(&self.trust_domain, namespace, service_account) {
            Ok(identity) => identity,
            Err(error) => return unknown(&error.to_string()),
        };
        let uid = format!("{}//Pod/{namespace}/{name}", self.cluster_id);
        let mut workload = Workload::new(&uid, name, identity, addresses.clone());
        workload.cluster_id = self.cluster_id.as_str().into();
        workload.network = Arc::clone(&self.network);
        workload.protocol = Protocol::Hbone;
        workload.workload_name = name.as_str().into();
        workload.canonical_name = name.as_str().into();
        workload.canonical_revision = "latest".into();
        Occupant::Member(Arc::new(workload))
    }
}

fn unknown(why: &str) -> Occupant {
    Occupant::Unknown { why: why.into() }
}

/// Questions to the API server at once.
const AT_ONCE: usize = 16;
/// For an answer; the data plane waits a little longer.
const LIMIT: Duration = Duration::from_millis(2500);
