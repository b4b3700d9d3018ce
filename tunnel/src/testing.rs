//! What tests make a thread of the data plane of.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::spawn_local;
use tunnel_credentials::{CredentialSettings, Credentials, TestAuthority};
use tunnel_discovery::MeshStore;
use tunnel_sockets::Sockets;
use tunnel_telemetry::{Telemetry, TelemetrySettings, WriterGuard};

use crate::context::Context;
use crate::occupants::Occupants;
use crate::probe::Tickets;
use crate::settings::{Parts, TunnelSettings, Untold};

/// All that connections of a thread work with; nobody makes sockets.
pub(crate) fn context(
    mesh: &MeshStore,
    occupants: Option<Occupants>,
    sink: Box<dyn Write + Send>,
) -> (Rc<Context>, WriterGuard) {
    let authority = Arc::new(TestAuthority::new("cluster.local"));
    let (credentials, owner) = Credentials::start(CredentialSettings::default(), authority as _);
    spawn_local(owner);
    let (telemetry, writer) = Telemetry::with_sink(TelemetrySettings::default(), sink).unwrap();
    let parts = Parts {
        mesh: mesh.reader(),
        credentials,
        telemetry,
        sockets: Sockets::channel().0,
        occupants,
    };
    let settings = TunnelSettings {
        untold: Untold::Judged {
            root_namespace: "istio-system".into(),
        },
        ..TunnelSettings::default()
    };
    (Context::new(settings, parts, Tickets::default()), writer)
}
