//! The composition root: makes every part, in the order in which they need each other, and takes
//! them down in the order that loses nothing.

mod driven;
mod parts;
mod zds;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use node_agent_admin::{LoggingPage, Readiness};
use node_agent_enrollment::Snapshot;
use node_agent_settings::Settings;
use tokio::task::JoinSet;
use tunnel_telemetry::{LogFormat, Telemetry, TelemetrySettings};

use crate::config_file::read_settings;
use crate::pods::Pods;
use crate::state::{StateDir, StateWriter};
use crate::stop::StopReasons;
use crate::tunnel_port::TunnelPort;
use crate::{limits, logging};
use driven::{Driver, Own};
use parts::{Shown, serve_sites};

/// Runs the agent until it is asked to stop.
pub(crate) fn run(config: &Path) -> anyhow::Result<()> {
    let settings = Arc::new(read_settings(config)?);
    let (telemetry, _last_words) = Telemetry::new(TelemetrySettings {
        format: match settings.log_format {
            node_agent_settings::LogFormat::Plain => LogFormat::Plain,
            node_agent_settings::LogFormat::Json => LogFormat::Json,
        },
        ..TelemetrySettings::default()
    })?;
    let logging = logging::start(&settings, &telemetry)?;
    // Control work has a thread of its own; traffic has the tunnel's.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    telemetry.watch_runtime(runtime.handle().clone());
    let outcome = runtime.block_on(live(settings, telemetry, logging));
    if let Err(error) = &outcome {
        tracing::error!("{error:#}");
    }
    // Blocking work that hangs in a pod's namespace must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn live(
    settings: Arc<Settings>,
    telemetry: Telemetry,
    logging: LoggingPage,
) -> anyhow::Result<()> {
    let mut stop = StopReasons::new()?;
    let descriptors = limits::raise_descriptor_limit().context("descriptor limit")?;
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(node = settings.node, version, descriptors, "starting");
    let mut tasks = JoinSet::new();
    let readiness = Readiness::default();
    let (recorded, directory) = recorded(&settings)?;
    let (writer, state_thread) = StateWriter::start(directory)?;
    let (pods, owner) = Pods::start(writer.clone());
    tasks.spawn(owner);
    let parts = parts::start(&settings, &telemetry, &readiness, &mut tasks)?;
    let shown = Shown {
        mesh: parts.mesh.reader(),
        credentials: parts.credentials.clone(),
        pods: pods.clone(),
        readiness: readiness.clone(),
        settings: Arc::clone(&settings),
        telemetry,
    };
    serve_sites(shown, logging, stop.asker(), &mut tasks)?;

    let tunnel = parts.tunnel.clone();
    let driver = if let Some(socket) = settings.zds_socket.clone() {
        Driver::foreign(socket, &settings, &readiness, parts)
    } else {
        let own = Own {
            pods,
            writer: writer.clone(),
            readiness,
            parts,
        };
        Driver::own(own, &settings, recorded, &mut tasks).await?
    };
    let reason = driver.run_until(stop.next()).await;
    tracing::info!(reason, "stopping");
    wind_down(driver, &tunnel, &settings, &mut stop).await;
    writer.close();
    // The thread writes what it was given and ends; it blocks at most on the disk.
    if tokio::task::spawn_blocking(move || state_thread.join())
        .await?
        .is_err()
    {
        tracing::error!("the thread that writes the table of enrolled pods ended in a panic");
    }
    Ok(())
}

/// The pods that a former run of the agent enrolled.
fn recorded(settings: &Settings) -> anyhow::Result<(Snapshot, StateDir)> {
    let directory = StateDir::open(&settings.state_dir)?;
    let loaded = directory.load()?;
    for complaint in &loaded.complaints {
        tracing::error!(
            complaint,
            "the table of enrolled pods was damaged; traffic of pods that only it knew is refused \
             until they are created anew"
        );
    }
    Ok((loaded.snapshot, directory))
}

/// Takes no more pods and lets connections end, unless somebody is in a hurry.
async fn wind_down(
    driver: Driver,
    tunnel: &TunnelPort,
    settings: &Settings,
    stop: &mut StopReasons,
) {
    let draining = tunnel.drain(settings.drain_deadline);
    let wound_down = async { tokio::join!(driver.stop(), draining).1 };
    tokio::select! {
        cut = wound_down => tracing::info!(connections_cut = cut, "stopped"),
        reason = stop.next() => {
            tracing::warn!(reason, "asked again; not waiting for connections any longer");
        }
    }
}

/// Rules are checked and removed by blocking calls; a hundred pods at once wait for each other here.
const BLOCKING_THREADS: usize = 32;
