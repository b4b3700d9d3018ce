//! The sites: administration, metrics, readiness. Their listeners come from the holder.

use std::future::pending;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;

use node_agent_admin::{
    AdminPages, Listener, LoggingPage, Readiness, admin_site, metrics_site, readiness_site,
};
use node_agent_cluster::ClusterHandle;
use node_agent_handover::Site;
use node_agent_settings::Settings;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tunnel_credentials::Credentials;
use tunnel_discovery::{MeshReader, XdsStatus};
use tunnel_telemetry::Telemetry;

use crate::certificates::Former;
use crate::dump::{Sources, dump};
use crate::explain::Explainer;
use crate::pods::Pods;
use crate::probes::Probes;

/// What the sites show.
#[derive(Clone)]
pub(super) struct Shown {
    pub(super) mesh: MeshReader,
    pub(super) credentials: Credentials,
    pub(super) control_plane: Option<watch::Receiver<XdsStatus>>,
    pub(super) former: Former,
    pub(super) pods: Pods,
    pub(super) readiness: Readiness,
    pub(super) settings: Arc<Settings>,
    pub(super) telemetry: Telemetry,
    pub(super) probes: Probes,
    /// The API server, if that says which pods there are.
    pub(super) cluster: Option<ClusterHandle>,
    pub(super) explainer: Arc<Explainer>,
}

/// Serves them as they come.
pub(super) struct Sites {
    pub(super) shown: Shown,
    pub(super) logging: LoggingPage,
    pub(super) quit: Arc<dyn Fn() + Send + Sync>,
}

impl Sites {
    /// Serves a site for as long as `tasks` lives.
    pub(super) fn serve(&self, site: Site, listener: TcpListener, tasks: &mut JoinSet<()>) {
        let (purpose, pages) = match site {
            Site::Admin => ("administration", self.admin()),
            Site::Metrics => {
                let telemetry = self.shown.telemetry.clone();
                let pages = metrics_site(Arc::new(move || telemetry.encode_metrics()));
                ("metrics", pages)
            }
            Site::Readiness => ("readiness", readiness_site(self.shown.readiness.clone())),
        };
        match Listener::new(listener, purpose) {
            Ok(listener) => {
                tasks.spawn(listener.serve(pages, Box::pin(pending())));
            }
            Err(error) => tracing::error!(%error, purpose, "a site cannot be served"),
        }
    }

    fn admin(&self) -> node_agent_admin::Site {
        let shown = self.shown.clone();
        let explainer = Arc::clone(&shown.explainer);
        let explain = Arc::new(move |pod: &str| {
            let (explainer, pod) = (Arc::clone(&explainer), pod.to_owned());
            let explaining = async move { explainer.explain(&pod).await };
            Box::pin(explaining) as Pin<Box<dyn Future<Output = _> + Send>>
        });
        let config_dump = Arc::new(move || {
            dump(&Sources {
                mesh: &shown.mesh.load(),
                certificates: &shown.credentials.summaries(),
                control_plane: shown.control_plane.as_ref().map(|now| now.borrow().clone()),
                former: &shown.former.now(),
                pods: &shown.pods.view(),
                troubles: &shown.pods.troubles(),
                pending: &shown.readiness.pending(),
                settings: &shown.settings,
                probes: shown.probes.now(),
                cluster: shown.cluster.as_ref().map(ClusterHandle::status),
            })
        });
        admin_site(AdminPages {
            config_dump,
            logging: Arc::clone(&self.logging),
            explain,
            quit: Arc::clone(&self.quit),
        })
    }
}
