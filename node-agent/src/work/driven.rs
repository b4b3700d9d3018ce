//! Who says which pods are served: the plugin and our own files, or a foreign agent.

use std::cell::RefCell;
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use node_agent_admin::Readiness;
use node_agent_enrollment::Snapshot;
use node_agent_settings::Settings;
use tokio::net::UnixListener;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::parts::{self, Parts};
use super::source::Source;
use super::zds::ZdsPods;
use crate::activity::{Activity, Paused};
use crate::agent::{Agent, Policy, Stop};
use crate::certificates::Keeper;
use crate::link::Holder;
use crate::plugin::serve;
use crate::pods::Pods;
use crate::probes::Probes;
use crate::repairs::Repairs;
use crate::state::{StateDir, StateWriter};
use crate::world::real::{Place, RealWorld};
use crate::{probes, report, restore, running, upkeep};

/// Whoever drives the tunnel.
pub(super) enum Driver {
    /// The plugin and our own files.
    Own(Box<OwnDriver>),
    /// A foreign agent.
    Foreign {
        /// Its socket.
        socket: PathBuf,
        /// What it acts on.
        pods: Rc<ZdsPods>,
        /// What goes on beside it.
        activity: Activity,
        /// It does not.
        paused: Option<Paused>,
    },
}

/// Our own server, to be paused and stopped.
pub(super) struct OwnDriver {
    agent: Arc<Agent<RealWorld>>,
    plugin: StdListener,
    stop: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
    paused: Option<[Paused; 2]>,
}

/// What a driver is made of.
pub(super) struct Own {
    pub(super) pods: Pods,
    pub(super) writer: StateWriter,
    pub(super) readiness: Readiness,
    pub(super) holder: Holder,
    pub(super) parts: Parts,
    pub(super) keeper: Keeper,
    pub(super) source: Source,
    pub(super) directory: StateDir,
    pub(super) probes: Probes,
    pub(super) repairs: Repairs,
}

impl Driver {
    /// Serves the plugin, after every recorded pod has entered the table; or, without a listener
    /// for it, lets a foreign agent drive.
    pub(super) async fn start(
        own: Own,
        plugin: Option<StdListener>,
        settings: &Settings,
        recorded: Snapshot,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<Self> {
        match (plugin, settings.zds_socket.clone()) {
            (Some(plugin), None) => OwnDriver::start(own, plugin, settings, recorded, tasks)
                .await
                .map(|driver| Self::Own(Box::new(driver))),
            (None, Some(socket)) => Ok(Self::foreign(socket, settings, own, tasks)),
            _ => anyhow::bail!(
                "holder and worker read different settings: restart the agent after zdsSocket changed"
            ),
        }
    }

    /// Lets a foreign agent drive.
    fn foreign(socket: PathBuf, settings: &Settings, own: Own, tasks: &mut JoinSet<()>) -> Self {
        let Own {
            readiness,
            parts,
            keeper,
            ..
        } = own;
        let (activity, synced) = (Activity::default(), Arc::new(Notify::new()));
        let all_held = Arc::clone(&synced);
        let all_held = async move { all_held.notified().await };
        tasks.spawn(keeper.run(parts.credentials.clone(), activity.clone(), all_held));
        let pods = Rc::new(ZdsPods {
            tunnel: parts.tunnel.0,
            credentials: parts.credentials,
            trust_domain: settings.trust_domain.as_str().into(),
            pending: RefCell::new(Some(readiness.task("snapshot of the foreign agent"))),
            synced,
            held: RefCell::default(),
        });
        Self::Foreign {
            socket,
            pods,
            activity,
            paused: None,
        }
    }

    /// Never resolves; drives while it is polled. To be made once: a session of the foreign agent ends
    /// with it.
    pub(super) fn drive(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        match self {
            Self::Own(_) => Box::pin(std::future::pending()),
            Self::Foreign { socket, pods, .. } => {
                let (socket, pods) = (socket.clone(), Rc::clone(pods));
                Box::pin(async move { node_agent_zds::run(&socket, &*pods).await })
            }
        }
    }

    /// Takes no more pods and forgets none; the table on disk is whole on return.
    pub(super) async fn pause(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Own(own) => own.pause().await,
            // Its successor asks the foreign agent itself.
            Self::Foreign {
                activity, paused, ..
            } => {
                if paused.is_none() {
                    *paused = Some(activity.pause().await);
                }
                Ok(())
            }
        }
    }

    /// Goes on as before.
    pub(super) fn resume(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Own(own) => own.resume(),
            Self::Foreign { paused, .. } => {
                *paused = None;
                Ok(())
            }
        }
    }
}

impl OwnDriver {
    async fn start(
        own: Own,
        plugin: StdListener,
        settings: &Settings,
        recorded: Snapshot,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<Self> {
        let Own {
            pods,
            writer,
            readiness,
            holder,
            parts,
            keeper,
            source,
            directory,
            probes,
            repairs,
        } = own;
        let restored = readiness.task("restore enrolled pods");
        let Parts {
            mesh,
            credentials,
            tunnel,
            control_plane: _only_shown,
            questions: _answered,
        } = parts;
        let place = Place {
            node: settings.node.as_str().into(),
            cluster_id: settings.cluster_id.as_str().into(),
            network: settings.network.as_str().into(),
            trust_domain: settings.trust_domain.as_str().into(),
            backend: parts::backend(settings, &holder).await?,
            ipv6: settings.ipv6,
        };
        let world = RealWorld {
            tunnel,
            credentials: credentials.clone(),
            mesh,
            holder,
            cluster: source.cluster,
            place,
            node_backend: parts::fixed_backend(settings).map_or_else(OnceLock::new, OnceLock::from),
        };
        let roster = source.roster;
        let policy = Policy::from(settings);
        let mut agent = Agent::new(world, pods, writer, roster, readiness, policy);
        (agent.probes, agent.repairs) = (probes, repairs);
        let agent = Arc::new(agent);
        tasks.spawn(note_ready(Arc::clone(&agent), directory));
        let waiting = restore::enter(&agent, recorded).await?;
        let mut driver = Self {
            agent: Arc::clone(&agent),
            plugin,
            stop: watch::Sender::new(false),
            server: None,
            paused: None,
        };
        driver.serve()?;
        let activity = agent.activity.clone();
        tasks.spawn(keeper.run(credentials, activity, std::future::ready(())));
        tasks.spawn(restore::restore(Arc::clone(&agent), waiting, restored));
        tasks.spawn(probes::keep(Arc::clone(&agent)));
        tasks.spawn(upkeep::upkeep(Arc::clone(&agent)));
        tasks.spawn(upkeep::keep_rules(Arc::clone(&agent)));
        tasks.spawn(running::seek(Arc::clone(&agent)));
        tasks.spawn(report::annotate(Arc::clone(&agent)));
        if let Some(complaints) = agent.complaints() {
            tasks.spawn(report::warn(Arc::clone(&agent), complaints));
        }
        tasks.spawn(running::run(agent));
        tracing::info!(socket = %settings.socket.display(), "serving the plugin");
        Ok(driver)
    }

    fn serve(&mut self) -> anyhow::Result<()> {
        let copy = self.plugin.try_clone().context("the plugin's listener")?;
        copy.set_nonblocking(true)?;
        let listener = UnixListener::from_std(copy)?;
        self.stop.send_replace(false);
        let (agent, stopped) = (Arc::clone(&self.agent), self.stop.subscribe());
        self.server = Some(tokio::spawn(serve(agent, listener, stopped)));
        Ok(())
    }

    async fn pause(&mut self) -> anyhow::Result<()> {
        self.agent.stop_enrolling(Stop::Now);
        self.stop.send_replace(true);
        if let Some(server) = self.server.take() {
            // The conversations there are go on to their end, which is bounded.
            server.await.context("the plugin's server")?;
        }
        if self.paused.is_none() {
            let all = self.agent.activity.pause().await;
            // Only then: pods on their way in wait for their exemption.
            self.paused = Some([all, self.agent.probes.activity.pause().await]);
        }
        let latest = self.agent.pods.latest().await?;
        self.agent.writer.durable(latest).await?;
        Ok(())
    }

    fn resume(&mut self) -> anyhow::Result<()> {
        self.paused = None;
        self.agent.stop_enrolling(Stop::NotAfterAll);
        if self.server.is_none() {
            self.serve()?;
        }
        Ok(())
    }
}

/// Remembers on disk that an agent was ready since the node's boot.
async fn note_ready(agent: Arc<Agent<RealWorld>>, directory: StateDir) {
    if !directory.was_ready() {
        agent.readiness.ready().await;
        if let Err(error) = directory.note_ready() {
            tracing::warn!(%error, "a restart will be taken for the first start since the node's boot");
        }
    }
    agent.note_ready();
}
