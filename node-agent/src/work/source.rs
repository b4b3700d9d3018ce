//! Who says which pods there are: the pods file, or the API server.

use std::sync::Arc;

use anyhow::Context as _;
use node_agent_admin::Readiness;
use node_agent_cluster::{Access, ClusterHandle, ClusterSettings, Start, until_whole};
use node_agent_enrollment::{Roster, Rules, Selectors};
use node_agent_settings::{PodsSource, Settings};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::pods::Pods;
use crate::roster_source;

/// What is said, and whom to ask for more.
pub(super) struct Source {
    pub(super) roster: watch::Receiver<Option<Arc<Roster>>>,
    /// The API server, if it is that.
    pub(super) cluster: Option<ClusterHandle>,
}

/// Follows whoever the settings name; the tasks go into `tasks`.
pub(super) fn follow(
    settings: &Settings,
    pods: &Pods,
    readiness: &Readiness,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Source> {
    let selectors = Arc::new(settings.enablement_selectors.clone().unwrap_or_default());
    match settings.pods {
        PodsSource::File => Ok(Source {
            roster: follow_file(settings, selectors, pods, readiness, tasks),
            cluster: None,
        }),
        PodsSource::Kubernetes => follow_cluster(settings, selectors, readiness, tasks),
    }
}

/// Checks how the API server is reached, without asking it.
pub(crate) fn check_access(settings: &Settings) -> anyhow::Result<()> {
    let access = access(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(access.check())?)
}

fn access(settings: &Settings) -> anyhow::Result<Access> {
    if let Some(path) = &settings.kubeconfig {
        return Ok(Access::Kubeconfig(path.clone()));
    }
    let directory = &settings.service_account_dir;
    Access::in_cluster(directory, |name| std::env::var(name).ok()).context("pods: kubernetes")
}

fn follow_cluster(
    settings: &Settings,
    selectors: Arc<Selectors>,
    readiness: &Readiness,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Source> {
    let prefix = &settings.agent_pod_prefix;
    let agent = settings.agent_namespace.clone();
    let followed = ClusterSettings {
        access: access(settings)?,
        node: settings.node.clone(),
        rules: Rules {
            selectors,
            agent: agent.map(|namespace| (namespace, prefix.clone())),
        },
    };
    let Start { handle, roster } = node_agent_cluster::start(followed, tasks);
    let pending = readiness.task("first list of the API server");
    let mut seen = roster.clone();
    tasks.spawn(async move {
        until_whole(&mut seen).await;
        pending.done();
    });
    Ok(Source {
        roster,
        cluster: Some(handle),
    })
}

fn follow_file(
    settings: &Settings,
    selectors: Arc<Selectors>,
    pods: &Pods,
    readiness: &Readiness,
    tasks: &mut JoinSet<()>,
) -> watch::Receiver<Option<Arc<Roster>>> {
    let (publish, roster) = watch::channel(None);
    if let Some(path) = settings.pods_file.clone() {
        let pending = readiness.task("pods file");
        let excluded = settings.exclude_namespaces.clone();
        tasks.spawn(roster_source::follow(
            path,
            selectors,
            publish,
            pods.clone(),
            excluded,
            pending,
        ));
    }
    roster
}
