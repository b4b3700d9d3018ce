//! Who says which pods are served: the plugin and our own files, or a foreign agent.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;

use node_agent_admin::Readiness;
use node_agent_enrollment::{Roster, Snapshot};
use node_agent_settings::Settings;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::parts::{self, Parts};
use super::zds::ZdsPods;
use crate::agent::{Agent, Policy};
use crate::plugin::{PluginSocket, serve};
use crate::pods::Pods;
use crate::state::StateWriter;
use crate::world::real::{Place, RealWorld};
use crate::{restore, roster_source, upkeep};

/// Whoever drives the tunnel.
pub(super) enum Driver {
    /// The plugin and our own files.
    Own(OwnDriver),
    /// A foreign agent.
    Foreign {
        /// Its socket.
        socket: PathBuf,
        /// What it acts on.
        pods: Box<ZdsPods>,
    },
}

/// Our own server, to be stopped.
pub(super) struct OwnDriver {
    agent: Arc<Agent<RealWorld>>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

/// What our own way of being driven is made of.
pub(super) struct Own {
    pub(super) pods: Pods,
    pub(super) writer: StateWriter,
    pub(super) readiness: Readiness,
    pub(super) parts: Parts,
}

impl Driver {
    /// Serves the plugin, after every recorded pod has entered the table.
    pub(super) async fn own(
        own: Own,
        settings: &Settings,
        recorded: Snapshot,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<Self> {
        let Own {
            pods,
            writer,
            readiness,
            parts,
        } = own;
        let restored = readiness.task("restore enrolled pods");
        let roster = follow_pods_file(settings, &pods, &readiness, tasks);
        let Parts {
            mesh,
            credentials,
            tunnel,
        } = parts;
        let place = Place {
            node: settings.node.as_str().into(),
            cluster_id: settings.cluster_id.as_str().into(),
            network: settings.network.as_str().into(),
            trust_domain: settings.trust_domain.as_str().into(),
            backend: parts::backend(settings).await?,
            ipv6: settings.ipv6,
        };
        let world = RealWorld {
            tunnel,
            credentials,
            mesh,
            place,
        };
        let policy = Policy::from(settings);
        let agent = Arc::new(Agent::new(world, pods, writer, roster, readiness, policy));
        let waiting = restore::enter(&agent, recorded).await?;
        let socket = PluginSocket::bind(&settings.socket)?;
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(serve(Arc::clone(&agent), socket, stopped));
        tasks.spawn(restore::restore(Arc::clone(&agent), waiting, restored));
        tasks.spawn(upkeep::upkeep(Arc::clone(&agent)));
        tracing::info!(socket = %settings.socket.display(), "serving the plugin");
        Ok(Self::Own(OwnDriver {
            agent,
            stop,
            server,
        }))
    }

    /// Lets a foreign agent drive.
    pub(super) fn foreign(
        socket: PathBuf,
        settings: &Settings,
        readiness: &Readiness,
        parts: Parts,
    ) -> Self {
        let pods = Box::new(ZdsPods {
            tunnel: parts.tunnel.0,
            credentials: parts.credentials,
            trust_domain: settings.trust_domain.as_str().into(),
            pending: RefCell::new(Some(readiness.task("snapshot of the foreign agent"))),
            held: RefCell::default(),
        });
        Self::Foreign { socket, pods }
    }

    /// Drives until `stop` resolves.
    pub(super) async fn run_until<T>(&self, stop: impl Future<Output = T>) -> T {
        match self {
            Self::Own(_) => stop.await,
            Self::Foreign { socket, pods } => {
                tokio::select! {
                    reason = stop => reason,
                    // Never returns by itself.
                    () = node_agent_zds::run(socket, &**pods) => std::future::pending().await,
                }
            }
        }
    }

    /// Takes no more pods, and finishes the conversations there are.
    pub(super) async fn stop(self) {
        if let Self::Own(OwnDriver {
            agent,
            stop,
            server,
        }) = self
        {
            agent.stop_enrolling();
            stop.send_replace(true);
            if let Err(error) = server.await {
                tracing::error!(%error, "the plugin's server ended in a panic");
            }
        }
    }
}

fn follow_pods_file(
    settings: &Settings,
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
            publish,
            pods.clone(),
            excluded,
            pending,
        ));
    }
    roster
}
