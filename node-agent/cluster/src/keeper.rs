//! The one state that all facts go into, and who may ask for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use node_agent_enrollment::{
    Annotate, Asked, Cluster, Effect, Fact, FoundPlace, ListedPod, PodRef, Progress, Roster, Rules,
    Source,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::access::Access;
use crate::ask::Asker;
use crate::follow::{Follower, Initial, Limits};
use crate::link::{Kind, Lamp, Status};
use crate::objects::{all_namespaces, all_pods, namespace_facts, pod_facts};
use crate::occupants::NobodyTells;
use crate::tell::{self, TellError, Warning};

/// What is followed.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Where the API server is.
    pub access: Access,
    /// The node whose pods are followed.
    pub node: String,
    /// What holds for its pods.
    pub rules: Rules,
}

/// Everything that was started.
#[derive(Debug)]
pub struct Start {
    /// The way to ask.
    pub handle: ClusterHandle,
    /// What is known, anew with each change; there is some from the beginning, which says that
    /// nothing is known.
    pub roster: watch::Receiver<Option<Arc<Roster>>>,
}

/// The way to ask the API server. Clones share it.
#[derive(Debug, Clone)]
pub struct ClusterHandle {
    facts: mpsc::Sender<Fact>,
    status: watch::Receiver<Status>,
    asker: Arc<Asker>,
    rules: Rules,
    node: Arc<str>,
}

/// Starts to follow; the tasks go into `tasks` and end with it.
#[must_use]
pub fn start(settings: ClusterSettings, tasks: &mut JoinSet<()>) -> Start {
    start_with(settings, Limits::default(), tasks)
}

pub(crate) fn start_with(
    settings: ClusterSettings,
    limits: Limits,
    tasks: &mut JoinSet<()>,
) -> Start {
    let ClusterSettings {
        access,
        node,
        rules,
    } = settings;
    let (facts, heard) = mpsc::channel(FACTS);
    let (status, shown) = watch::channel(Status::beginning(SystemTime::now()));
    let cluster = Cluster::new(rules.clone());
    let (publish, roster) = watch::channel(Some(Arc::new(cluster.roster())));
    let lamp = |kind| Lamp {
        kind,
        status: status.clone(),
    };
    let pods = Follower {
        access: access.clone(),
        api: all_pods,
        fields: Some(format!("spec.nodeName={node}")),
        fact: |notice| Fact::Pod(notice.map(pod_facts)),
        facts: facts.clone(),
        lamp: lamp(Kind::Pods),
        version: None,
        initial: Initial::Stream,
        limits,
    };
    let namespaces = Follower {
        access: access.clone(),
        api: all_namespaces,
        fields: None,
        fact: |notice| Fact::Namespace(notice.map(namespace_facts)),
        facts: facts.clone(),
        lamp: lamp(Kind::Namespaces),
        version: None,
        initial: Initial::Stream,
        limits,
    };
    tasks.spawn(pods.run());
    tasks.spawn(namespaces.run());
    tasks.spawn(keep(cluster, heard, publish, status));
    let handle = ClusterHandle {
        facts,
        status: shown,
        asker: Arc::new(Asker::new(access)),
        rules,
        node: node.into(),
    };
    Start { handle, roster }
}

/// Applies facts as they come; what comes together is shown together.
async fn keep(
    mut cluster: Cluster,
    mut heard: mpsc::Receiver<Fact>,
    publish: watch::Sender<Option<Arc<Roster>>>,
    status: watch::Sender<Status>,
) {
    while let Some(fact) = heard.recv().await {
        let mut effect = cluster.apply(fact);
        while let Ok(next) = heard.try_recv() {
            if cluster.apply(next) == Effect::Changed {
                effect = Effect::Changed;
            }
        }
        if effect == Effect::Changed {
            let counts = cluster.counts();
            status.send_modify(|status| status.counts = counts);
            publish.send_replace(Some(Arc::new(cluster.roster())));
        }
    }
}

impl ClusterHandle {
    /// Asks for a pod that the roster does not know. There is an answer within the limit.
    pub async fn ask(&self, pod: &PodRef, limit: Duration) -> Asked {
        self.asker.ask(&self.rules, pod, limit).await
    }

    /// Asks which pods have an address for themselves. There is an answer within the limit.
    ///
    /// # Errors
    /// Nobody can tell.
    pub async fn occupants(
        &self,
        ip: IpAddr,
        limit: Duration,
    ) -> Result<Vec<ListedPod>, NobodyTells> {
        self.asker.occupants(&self.rules, ip, limit).await
    }

    /// Writes a pod's annotation.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn annotate(&self, annotate: &Annotate) -> Result<(), TellError> {
        tell::annotate(&self.asker, annotate).await
    }

    /// Makes an event of what went wrong with a pod.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn warn(&self, warning: &Warning) -> Result<(), TellError> {
        tell::warn(&self.asker, &self.node, warning).await
    }

    /// Takes note of where a pod runs, or that it was not found.
    pub async fn found(&self, uid: String, place: Option<FoundPlace>) {
        // The agent is stopping.
        let _ending = self.facts.send(Fact::Found { uid, place }).await;
    }

    /// Waits until both watches are as wanted.
    #[cfg(test)]
    pub(crate) async fn until_links(&self, wanted: impl Fn(&crate::link::Link) -> bool) {
        let mut status = self.status.clone();
        let both = |s: &Status| wanted(&s.pods.link) && wanted(&s.namespaces.link);
        let _ending = status.wait_for(both).await;
    }

    /// How the connection is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }
}

/// Waits until everything was listed once.
pub async fn until_whole(roster: &mut watch::Receiver<Option<Arc<Roster>>>) {
    let is_whole = |roster: &Option<Arc<Roster>>| {
        roster
            .as_ref()
            .is_some_and(|roster| roster.source() == Source::Kubernetes(Progress::Whole))
    };
    // The agent is stopping.
    let _ending = roster.wait_for(is_whole).await;
}

/// Facts that wait to be applied; then the watches wait.
const FACTS: usize = 1024;
