//! `ambient-agent worker`: makes every part, in the order in which they need each other, obeys the
//! holder, and takes the parts down in the order that loses nothing.

mod authority;
mod control_plane;
mod driven;
mod obey;
mod parts;
mod sites;
mod source;
mod zds;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;
use node_agent_admin::{LoggingPage, Readiness};
use node_agent_enrollment::Snapshot;
use node_agent_settings::Settings;
use tokio::task::JoinSet;
use tunnel_telemetry::{LogFormat, Telemetry, TelemetrySettings};

use crate::agent::Policy;
use crate::certificates::{Former, Keeper};
use crate::config_file::read_settings;
use crate::explain::Explainer;
use crate::link::{self, Holder, Linked};
use crate::occupants::Answers;
use crate::pods::Pods;
use crate::probes::Probes;
use crate::repairs::{self, Repairs};
use crate::state::{StateDir, StateWriter};
use crate::stop::Wishes;
use crate::{limits, logging};
use driven::{Driver, Own};
use obey::Obedience;
use parts::Parts;
use sites::{Shown, Sites};
use source::Source;
pub(crate) use source::check_access;

/// Runs the worker until its holder lets it end.
pub(crate) fn work(config: &Path) -> anyhow::Result<()> {
    let sealed = node_agent_confine::seal_worker()?;
    let link = node_agent_holder::inherited_link()?;
    let settings = Arc::new(read_settings(config)?);
    let (telemetry, _last_words) = Telemetry::new(TelemetrySettings {
        format: match settings.log_format {
            node_agent_settings::LogFormat::Plain => LogFormat::Plain,
            node_agent_settings::LogFormat::Json => LogFormat::Json,
        },
        ..TelemetrySettings::default()
    })?;
    let logging = logging::start(&settings, &telemetry)?;
    tracing::info!(%sealed, "the worker is confined");
    let linked = link::take_up(link, settings.socket.clone())?;
    // Control work has a thread of its own; traffic has the tunnel's.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    telemetry.watch_runtime(runtime.handle().clone());
    let outcome = runtime.block_on(live(settings, telemetry, logging, linked));
    if let Err(error) = &outcome {
        tracing::error!("{error:#}");
    }
    // Blocking work that hangs must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn live(
    settings: Arc<Settings>,
    telemetry: Telemetry,
    logging: LoggingPage,
    linked: Linked,
) -> anyhow::Result<()> {
    let wishes = Wishes::new()?;
    let descriptors = limits::raise_descriptor_limit().context("descriptor limit")?;
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(node = settings.node, version, descriptors, "starting");
    let mut tasks = JoinSet::new();
    let readiness = Readiness::default();
    let (recorded, directory) = recorded(&settings)?;
    let (keeper, former) = Keeper::load(directory.clone());
    let (writer, state_thread) = StateWriter::start(directory.clone())?;
    let (pods, owner) = Pods::start(writer.clone());
    tasks.spawn(owner);
    let Linked {
        plugin,
        sockets,
        holder,
        orders,
    } = linked;
    let mut parts = parts::start(&settings, &telemetry, &readiness, sockets, &mut tasks)?;
    let source = source::follow(&settings, &pods, &readiness, &mut tasks)?;
    answer(&mut parts, &source, &settings, &mut tasks);
    let probes = Probes::counting(repairs::counter(&telemetry, "node"));
    let repairs = Repairs::counting(repairs::counter(&telemetry, "pod"));
    let mut explainer = explainer(&settings, &source, &pods, &holder, &parts, &former);
    explainer.repairs = repairs.clone();
    let shown = Shown {
        cluster: source.cluster.clone(),
        explainer: Arc::new(explainer),
        mesh: parts.mesh.reader(),
        credentials: parts.credentials.clone(),
        control_plane: parts.control_plane.clone(),
        former,
        pods: pods.clone(),
        readiness: readiness.clone(),
        settings: Arc::clone(&settings),
        telemetry,
        probes: probes.clone(),
    };
    let sites = Sites {
        shown,
        logging,
        quit: wishes.asker(),
    };
    let tunnel = parts.tunnel.clone();
    let own = Own {
        pods,
        writer: writer.clone(),
        readiness: readiness.clone(),
        holder: holder.clone(),
        parts,
        keeper,
        source,
        directory,
        probes,
        repairs,
    };
    let driver = Driver::start(own, plugin, &settings, recorded, &mut tasks);
    let obedience = Obedience {
        orders,
        holder,
        wishes,
        sites,
        readiness,
        tunnel,
        drain_deadline: settings.drain_deadline,
        succession_deadline: settings.succession_deadline,
        kept: VecDeque::new(),
        quiet: false,
        heirless: None,
        tasks: JoinSet::new(),
    };
    obedience.until_the_end(driver).await?;
    writer.close();
    end_of(state_thread).await
}

/// The tunnel's questions about addresses, where there is somebody to ask.
fn answer(parts: &mut Parts, source: &Source, settings: &Settings, tasks: &mut JoinSet<()>) {
    if let (Some(questions), Some(cluster)) = (parts.questions.take(), &source.cluster) {
        let answers = Answers::new(cluster.clone(), source.roster.clone(), settings);
        tasks.spawn(answers.serve(questions));
    }
}

/// The thread writes what it was given and ends; it blocks at most on the disk.
async fn end_of(state_thread: JoinHandle<()>) -> anyhow::Result<()> {
    let ended = tokio::task::spawn_blocking(move || state_thread.join());
    if ended.await?.is_err() {
        tracing::error!("the thread that writes the table of enrolled pods ended in a panic");
    }
    Ok(())
}

fn explainer(
    settings: &Settings,
    source: &Source,
    pods: &Pods,
    holder: &Holder,
    parts: &Parts,
    former: &Former,
) -> Explainer {
    Explainer {
        roster: source.roster.clone(),
        excluded_namespaces: settings.exclude_namespaces.clone(),
        on_unknown: Policy::from(settings).on_unknown,
        cluster: source.cluster.clone(),
        pods: pods.clone(),
        holder: holder.clone(),
        credentials: parts.credentials.clone(),
        former: former.clone(),
        trust_domain: settings.trust_domain.clone(),
        repairs: Repairs::default(),
    }
}

/// The pods that a former run of the agent enrolled.
fn recorded(settings: &Settings) -> anyhow::Result<(Snapshot, StateDir)> {
    let directory = StateDir::open(&settings.state_dir)?;
    let loaded = directory.load::<Snapshot>()?;
    for complaint in &loaded.complaints {
        tracing::error!(
            complaint,
            "the table of enrolled pods was damaged; traffic of pods that only it knew is refused \
             until they are created anew"
        );
    }
    Ok((loaded.document, directory))
}

/// Files are watched by blocking calls.
const BLOCKING_THREADS: usize = 32;
