//! The control plane as the settings name it: who it is, who we are, and following it.

use std::sync::Arc;

use node_agent_admin::PendingTask;
use node_agent_settings::{HostPort, Settings};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tunnel_control::{Connector, ServerSettings};
use tunnel_discovery::{MeshStore, NodeFacts, XdsClient, XdsParts, XdsStatus};
use tunnel_telemetry::Telemetry;

/// The way to a server of the settings.
pub(super) fn connector(
    settings: &Settings,
    server: &HostPort,
    server_name: Option<&String>,
) -> Connector {
    let HostPort { host, port } = server;
    Connector::new(ServerSettings {
        server_name: server_name.unwrap_or(host).clone(),
        root_cert_file: settings.root_cert_file.clone(),
        token_file: settings.token_file.clone(),
        cluster_id: settings.cluster_id.clone(),
        ..ServerSettings::new(host.as_str(), *port)
    })
}

/// Follows the control plane into the store; `pending` is done once it has told everything.
pub(super) fn follow(
    settings: &Settings,
    server: &HostPort,
    store: Arc<MeshStore>,
    telemetry: Telemetry,
    pending: PendingTask,
    tasks: &mut JoinSet<()>,
) -> watch::Receiver<XdsStatus> {
    let client = XdsClient::new(XdsParts {
        connector: connector(settings, server, settings.xds_server_name.as_ref()),
        facts: facts(settings),
        store,
        telemetry,
    });
    let status = client.status();
    tasks.spawn(client.run());
    tasks.spawn(until_complete(status.clone(), pending));
    status
}

async fn until_complete(mut status: watch::Receiver<XdsStatus>, pending: PendingTask) {
    let complete = status.wait_for(|status| status.complete_since.is_some());
    if complete.await.is_err() {
        // The client has ended, and with it the hope: not ready is the truth.
        tracing::error!("the task that follows the control plane has ended");
        std::future::pending::<()>().await;
    }
    tracing::info!("the control plane has told all of the mesh");
    pending.done();
}

fn facts(settings: &Settings) -> NodeFacts {
    let text = |setting: &Option<String>| setting.clone().unwrap_or_default();
    NodeFacts {
        pod_ip: settings.pod_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        pod_name: text(&settings.pod_name),
        pod_namespace: text(&settings.pod_namespace),
        service_account: text(&settings.service_account),
        node: settings.node.clone(),
        cluster_id: settings.cluster_id.clone(),
        cluster_domain: settings.cluster_domain.clone(),
        network: settings.network.clone(),
    }
}
