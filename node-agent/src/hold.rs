//! `ambient-agent run`: the holder, which starts this program again as its worker.

pub(crate) mod log;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use node_agent_confine::Confinement;
use node_agent_handover::{SPOKEN, Site};
use node_agent_holder::{Ended, HolderSettings, WorkerProgram};
use node_agent_namespace::Whereabouts;
use node_agent_settings::{PodsSource, Settings};

use crate::config_file::read_settings;
use crate::limits;
use crate::state::StateDir;

/// Runs the holder until its worker has served what there was after a stop, or a successor serves.
pub(crate) fn hold(config: &Path) -> anyhow::Result<()> {
    let settings = read_settings(config)?;
    log::start(&settings)?;
    // The worker can be shown only what is there.
    StateDir::open(&settings.state_dir)?;
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
            arguments,
            confinement: confinement(settings, config),
        },
        worker_deadline: settings.worker_deadline,
        drain_deadline: settings.drain_deadline,
        succession_deadline: settings.succession_deadline,
        linger: settings.linger,
        places: Whereabouts {
            proc: settings.proc_dir.clone(),
            names: settings.netns_dirs.0.clone(),
        },
        spoken: SPOKEN.up_to(u16::try_from(settings.holder_protocol).unwrap_or(u16::MAX)),
        build: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The worker sees the directories of the files it is told about, as it reads them again when others
/// replace them, and no other.
fn confinement(settings: &Settings, config: &Path) -> Confinement {
    let servers = [&settings.xds_address, &settings.ca_address];
    let mut servers = servers.into_iter().flatten().peekable();
    let control = servers.peek().is_some();
    let files = [
        settings.pods_file.as_deref(),
        settings.mesh_file.as_deref(),
        settings.kubeconfig.as_deref(),
        settings.development_ca_cert.as_deref(),
        settings.development_ca_key.as_deref(),
        settings.zds_socket.as_deref(),
        control.then_some(settings.root_cert_file.as_path()),
        control.then_some(settings.token_file.as_path()),
        Some(config),
    ];
    let files = files.into_iter().flatten().filter_map(Path::parent);
    // Kubernetes replaces what a link in there leads to.
    let in_cluster = settings.pods == PodsSource::Kubernetes && settings.kubeconfig.is_none();
    let service_account = in_cluster.then_some(settings.service_account_dir.as_path());
    let directories = files.chain(service_account);
    let mut readable: Vec<_> = directories.map(Path::to_owned).collect();
    if servers.any(|server| server.host.parse::<IpAddr>().is_err()) {
        readable.extend(resolver_files());
    }
    Confinement {
        readable,
        writable: vec![settings.state_dir.clone()],
        oom_score_adj: OOM_SCORE,
    }
}

/// What the C library reads to resolve a name, each by itself: the rest of their directory is none
/// of the worker's business. One that is replaced later is seen by the next worker.
fn resolver_files() -> impl Iterator<Item = PathBuf> {
    [
        "resolv.conf",
        "hosts",
        "nsswitch.conf",
        "host.conf",
        "gai.conf",
    ]
    .into_iter()
    .map(|name| Path::new("/etc").join(name))
    .filter(|path| path.exists())
}

/// When memory is short, the worker dies before the holder, which makes another.
const OOM_SCORE: i32 = 500;
