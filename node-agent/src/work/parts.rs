//! Makes the parts that both ways of being driven share: certificates, the mesh, the data plane.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use node_agent_admin::{PendingTask, Readiness};
use node_agent_handover::{Job, JobDone};
use node_agent_redirect::{Backend, RedirectPlan};
use node_agent_settings::{Blocks, ByteSize, IptablesBackend, PodsSource, Settings, WorkerThreads};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tunnel::{
    Limits, Occupants, Parts as TunnelParts, PodRange, Question, Tunnel, TunnelSettings, Untold,
};
use tunnel_credentials::{CredentialSettings, Credentials, IstiodCa};
use tunnel_discovery::{Link, MeshStore, XdsStatus, watch_file};
use tunnel_sockets::Sockets;
use tunnel_telemetry::Telemetry;

use super::authority::Search;
use super::control_plane;
use crate::link::Holder;
use crate::tunnel_port::TunnelPort;

/// The parts.
pub(super) struct Parts {
    pub(super) mesh: Arc<MeshStore>,
    pub(super) credentials: Credentials,
    pub(super) tunnel: TunnelPort,
    /// What the data plane asks, if there is somebody to be asked.
    pub(super) questions: Option<mpsc::Receiver<Question>>,
    /// How it stands with the control plane, if one is followed.
    pub(super) control_plane: Option<watch::Receiver<XdsStatus>>,
}

/// Makes them; their tasks go into `tasks`.
pub(super) fn start(
    settings: &Settings,
    telemetry: &Telemetry,
    readiness: &Readiness,
    sockets: Sockets,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Parts> {
    let credentials = credentials(settings, readiness, tasks)?;
    let (mesh, control_plane) = follow_mesh(settings, telemetry, readiness, tasks);
    let (occupants, questions) = occupants(settings).unzip();
    if let (Some(occupants), Some(status)) = (&occupants, &control_plane) {
        tasks.spawn(note_control_plane(occupants.clone(), status.clone()));
    }
    let parts = TunnelParts {
        mesh: mesh.reader(),
        credentials: credentials.clone(),
        telemetry: telemetry.clone(),
        sockets,
        occupants,
    };
    // The threads are not waited for: they end with the process.
    let (_threads, handle) =
        Tunnel::start(&tunnel_settings(settings), &parts).context("cannot start the data plane")?;
    Ok(Parts {
        mesh,
        credentials,
        tunnel: TunnelPort(handle),
        questions,
        control_plane,
    })
}

/// The way to ask who is at an address, where the API server is followed.
fn occupants(settings: &Settings) -> Option<(Occupants, mpsc::Receiver<Question>)> {
    let range = match &settings.pod_cidrs {
        Some(Blocks(blocks)) => PodRange::Blocks(blocks.clone()),
        None => PodRange::Private,
    };
    (settings.pods == PodsSource::Kubernetes).then(|| Occupants::channel(range))
}

/// Tells the tunnel whether the control plane would tell of a pod that comes.
async fn note_control_plane(occupants: Occupants, mut status: watch::Receiver<XdsStatus>) {
    loop {
        let tells = {
            let status = status.borrow_and_update();
            status.link == Link::Connected && status.complete_since.is_some()
        };
        occupants.note_control_plane(tells);
        if status.changed().await.is_err() {
            occupants.note_control_plane(false);
            return;
        }
    }
}

fn credentials(
    settings: &Settings,
    readiness: &Readiness,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Credentials> {
    let ttl = settings.certificate_ttl;
    let how = CredentialSettings {
        ttl,
        root_pause: settings.root_rotation_pause,
        ..CredentialSettings::default()
    };
    if let Some(server) = &settings.ca_address {
        let name = settings.ca_server_name.as_ref();
        let authority = IstiodCa::new(control_plane::connector(settings, server, name));
        let (credentials, owner) = Credentials::start(how, Arc::new(authority));
        tasks.spawn(owner);
        return Ok(credentials);
    }
    let (Some(cert), Some(key)) = (&settings.development_ca_cert, &settings.development_ca_key)
    else {
        // The settings refuse this already.
        anyhow::bail!("no certificate authority is configured");
    };
    let pending = readiness.task("certificate authority");
    let (search, authority) = Search::begin(cert.clone(), key.clone());
    let (credentials, owner) = Credentials::start(how, Arc::new(authority));
    tasks.spawn(owner);
    tasks.spawn(search.go_on(credentials.clone(), pending));
    Ok(credentials)
}

/// The store, and whoever fills it: the control plane or a file.
fn follow_mesh(
    settings: &Settings,
    telemetry: &Telemetry,
    readiness: &Readiness,
    tasks: &mut JoinSet<()>,
) -> (Arc<MeshStore>, Option<watch::Receiver<XdsStatus>>) {
    let store = Arc::new(MeshStore::new());
    let mut status = None;
    if let Some(server) = &settings.xds_address {
        let pending = readiness.task_of_members("first state from the control plane");
        let (store, telemetry) = (Arc::clone(&store), telemetry.clone());
        status = Some(control_plane::follow(
            settings, server, store, telemetry, pending, tasks,
        ));
    } else if let Some(path) = settings.mesh_file.clone() {
        let pending = readiness.task("mesh file");
        tasks.spawn(follow(path, Arc::clone(&store), pending));
    }
    (store, status)
}

/// Tries until the file is in force for the first time; from then on the store follows it.
async fn follow(path: PathBuf, store: Arc<MeshStore>, pending: PendingTask) {
    let mut said = String::new();
    let watched = loop {
        match watch_file(&path, Arc::clone(&store)).await {
            Ok(watched) => break watched,
            Err(error) => {
                // The same mistakes every second would only bury the rest of the log.
                let text = error.to_string();
                if text != said {
                    tracing::error!(
                        error = text,
                        "the mesh file cannot be used; no pod can start"
                    );
                    said = text;
                }
                tokio::time::sleep(MESH_RETRY).await;
            }
        }
    };
    tracing::info!(path = %path.display(), "read the mesh file");
    pending.done();
    watched.run().await;
}

fn tunnel_settings(settings: &Settings) -> TunnelSettings {
    let defaults = TunnelSettings::default();
    TunnelSettings {
        threads: match settings.worker_threads {
            WorkerThreads::Auto => defaults.threads,
            WorkerThreads::Exactly(count) => count as usize,
        },
        network: settings.network.as_str().into(),
        ipv6: settings.ipv6,
        limits: Limits {
            stream_window: window(settings.stream_window),
            tunnel_window: window(settings.tunnel_window),
            max_streams: settings.max_streams_per_tunnel,
            pool_streams: settings.pool_max_streams as usize,
            connect_timeout: settings.connect_timeout,
            handshake_timeout: settings.handshake_timeout,
            idle: settings.tunnel_idle,
            ..Limits::default()
        },
        max_connections: settings.max_connections_per_pod as usize,
        socket_stock: settings.socket_stock as usize,
        untold: match settings.xds_address {
            Some(_) => Untold::Judged {
                root_namespace: settings.root_namespace.as_str().into(),
            },
            None => Untold::Refused,
        },
        ..defaults
    }
}

/// The settings keep windows below what HTTP/2 can say.
fn window(size: ByteSize) -> u32 {
    u32::try_from(size.0).unwrap_or(u32::MAX >> 1)
}

/// Which programs write rules, if the settings say it.
pub(super) fn fixed_backend(settings: &Settings) -> Option<Backend> {
    match settings.iptables_backend {
        IptablesBackend::Nft => Some(Backend::Nft),
        IptablesBackend::Legacy => Some(Backend::Legacy),
        IptablesBackend::Auto => None,
    }
}

/// Which programs write rules, found out by trying if the settings leave it open.
pub(super) async fn backend(settings: &Settings, holder: &Holder) -> anyhow::Result<Backend> {
    if let Some(fixed) = fixed_backend(settings) {
        return Ok(fixed);
    }
    let mut plan = RedirectPlan::new(Backend::Nft);
    plan.ipv6 = settings.ipv6;
    let detecting = holder.work(Job::Detect { plan }, None, DETECTION);
    let detected = tokio::time::timeout(2 * DETECTION, detecting).await;
    match detected.context("the holder does not answer")?? {
        JobDone::Detected(found) => {
            tracing::info!(backend = %found, "found how rules are written on this node");
            Ok(found)
        }
        other => anyhow::bail!("the holder did something else: {other:?}"),
    }
}

const MESH_RETRY: Duration = Duration::from_secs(1);
const DETECTION: Duration = Duration::from_secs(20);
