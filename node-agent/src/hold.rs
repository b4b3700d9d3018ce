//! `ambient-agent run`: the holder, which starts this program again as its worker.

mod log;

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context as _;
use node_agent_handover::{SPOKEN, Site};
use node_agent_holder::{Ended, HolderSettings, WorkerProgram};
use node_agent_settings::Settings;

use crate::config_file::read_settings;
use crate::limits;

/// Runs the holder until its worker has served what there was after a stop, or a successor serves.
pub(crate) fn hold(config: &Path) -> anyhow::Result<()> {
    let settings = read_settings(config)?;
    log::start(&settings)?;
    let descriptors = limits::raise_descriptor_limit().context("descriptor limit")?;
    let build = env!("CARGO_PKG_VERSION");
    tracing::info!(
        node = settings.node,
        build,
        descriptors,
        "starting as the holder"
    );
    let outcome = node_agent_holder::run(holder_settings(&settings, config));
    match outcome {
        Ok(Ended::Drained) => tracing::info!("stopped"),
        Ok(Ended::Lingering) => {}
        Err(error) => {
            tracing::error!("{error}");
            return Err(error.into());
        }
    }
    Ok(())
}

fn holder_settings(settings: &Settings, config: &Path) -> HolderSettings {
    // The file that this process was started from, whatever its name leads to by now: a worker is of
    // the build of its holder.
    let program = "/proc/self/exe".into();
    let arguments: Vec<OsString> = vec![
        "worker".into(),
        "--config".into(),
        config.as_os_str().to_owned(),
    ];
    HolderSettings {
        door: settings.holder_socket.clone(),
        plugin: settings
            .zds_socket
            .is_none()
            .then(|| settings.socket.clone()),
        sites: vec![
            (Site::Admin, settings.admin_address),
            (Site::Metrics, settings.metrics_address),
            (Site::Readiness, settings.readiness_address),
        ],
        worker: WorkerProgram {
            program,
            arguments,
            writable: vec![settings.state_dir.clone()],
        },
        worker_deadline: settings.worker_deadline,
        drain_deadline: settings.drain_deadline,
        linger: settings.linger,
        spoken: SPOKEN.up_to(u16::try_from(settings.holder_protocol).unwrap_or(u16::MAX)),
        build: env!("CARGO_PKG_VERSION").to_owned(),
    }
}
