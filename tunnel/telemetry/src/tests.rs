#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    reason = "tests"
)]

mod events;
mod log;
mod metrics;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tunnel_model::{Identity, Parties, Service, Workload};

use crate::*;

/// A sink that keeps what was written and how often.
#[derive(Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<(Vec<u8>, usize)>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut kept = self.0.lock().unwrap();
        kept.0.extend_from_slice(bytes);
        kept.1 += 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Kept {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().0.clone()).unwrap()
    }

    pub(crate) fn writes(&self) -> usize {
        self.0.lock().unwrap().1
    }
}

pub(crate) struct Rig {
    pub(crate) telemetry: Telemetry,
    pub(crate) kept: Kept,
    _guard: WriterGuard,
}

impl Rig {
    pub(crate) fn new(settings: TelemetrySettings) -> Self {
        let kept = Kept::default();
        let (telemetry, guard) = Telemetry::with_sink(settings, Box::new(kept.clone())).unwrap();
        Self {
            telemetry,
            kept,
            _guard: guard,
        }
    }

    pub(crate) fn plain() -> Self {
        Self::new(TelemetrySettings::default())
    }

    pub(crate) fn json() -> Self {
        Self::new(TelemetrySettings {
            format: LogFormat::Json,
            ..TelemetrySettings::default()
        })
    }

    pub(crate) fn text(&self) -> String {
        assert!(self.telemetry.flush(Duration::from_secs(10)));
        self.kept.text()
    }
}

pub(crate) fn workload(name: &str, account: &str) -> Arc<Workload> {
    Arc::new(named_workload(name, account))
}

pub(crate) fn service() -> Arc<Service> {
    Arc::new(Service::new(
        "server",
        "apps",
        "server.apps.svc.cluster.local",
    ))
}

pub(crate) fn identity(account: &str) -> Identity {
    Identity::new("cluster.local", "apps", account).unwrap()
}

pub(crate) fn start(direction: Direction, started: Instant) -> ConnectionStart {
    ConnectionStart {
        direction,
        source: "10.0.0.1:40000".parse().unwrap(),
        destination: "10.0.0.2:15008".parse().unwrap(),
        hbone_target: Some("10.0.0.2:80".parse().unwrap()),
        parties: Parties {
            source: Some(workload("client-1", "client")),
            destination: Some(workload("server-1", "server")),
            service: Some(service()),
        },
        source_identity: Some(identity("client")),
        destination_identity: Some(identity("server")),
        security: Security::MutualTls,
        started,
    }
}

fn named_workload(name: &str, account: &str) -> Workload {
    let mut workload = Workload::new(name, name, identity(account), Vec::new());
    workload.workload_name = format!("{name}-deployment").into();
    workload.canonical_name = format!("{name}-app").into();
    workload.canonical_revision = "v1".into();
    workload
}
