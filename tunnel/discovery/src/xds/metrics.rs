use tunnel_control::ControlError;
use tunnel_telemetry::{Counter, Gauge, Telemetry};

use super::convert::ResourceType;
use super::status::XdsStatus;

/// What is counted. The first three are upstream's families.
pub(crate) struct Metrics {
    telemetry: Telemetry,
    messages: [Counter; ResourceType::ALL.len()],
    bytes: [Counter; ResourceType::ALL.len()],
    rejected: [Counter; ResourceType::ALL.len()],
    resources: [Gauge; ResourceType::ALL.len()],
    connected: Gauge,
}

impl Metrics {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        let counter = |name, help| {
            ResourceType::ALL.map(|kind| telemetry.counter_of(name, help, ("url", kind.url())))
        };
        Self {
            messages: counter("istio_xds_message", "Responses from the control plane"),
            bytes: counter(
                "istio_xds_message_bytes",
                "Bytes of responses from the control plane",
            ),
            rejected: counter(
                "ambient_xds_rejected",
                "Resources from the control plane that were rejected",
            ),
            resources: ResourceType::ALL.map(|kind| {
                telemetry.gauge_of(
                    "ambient_xds_resources",
                    "Resources from the control plane that are held",
                    ("url", kind.url()),
                )
            }),
            connected: telemetry.gauge(
                "ambient_xds_connected",
                "Whether there is a connection to the control plane",
            ),
            telemetry,
        }
    }

    pub(crate) fn connected(&self, connected: bool) {
        self.connected.set(i64::from(connected));
    }

    pub(crate) fn response(&self, kind: ResourceType, bytes: usize, rejected: usize) {
        self.messages[kind as usize].increment();
        self.bytes[kind as usize].add(bytes as u64);
        self.rejected[kind as usize].add(rejected as u64);
    }

    pub(crate) fn holds(&self, status: &XdsStatus) {
        for kind in ResourceType::ALL {
            let count = i64::try_from(status.of(kind).resources);
            self.resources[kind as usize].set(count.unwrap_or(i64::MAX));
        }
    }

    /// A connection, or the attempt to make one, has ended.
    pub(crate) fn ended(&self, why: Option<&ControlError>) {
        let reason = match why {
            None => "Complete",
            Some(
                ControlError::Refused { .. }
                | ControlError::Failed { .. }
                | ControlError::Interrupted(_),
            ) => "Error",
            Some(ControlError::Unavailable { .. }) => "Reconnect",
            Some(_) => "ConnectionError",
        };
        let name = "istio_xds_connection_terminations";
        let help = "Connections to the control plane that ended";
        let counter = self.telemetry.counter_of(name, help, ("reason", reason));
        counter.increment();
    }
}
