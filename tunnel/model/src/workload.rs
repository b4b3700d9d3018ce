//! Workloads: who lives behind an address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::identity::Identity;
use crate::policy::PolicyKey;
use crate::service::{GatewayAddress, ServiceKey};

/// How a workload is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Plain TCP.
    #[default]
    Tcp,
    /// HBONE on port 15008.
    Hbone,
}

/// Whether a workload counts as able to serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// Ready.
    #[default]
    Healthy,
    /// Not ready.
    Unhealthy,
}

/// What kind of object a workload comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WorkloadType {
    /// A Deployment.
    Deployment,
    /// A `CronJob`.
    CronJob,
    /// A bare pod, and everything that is not told apart.
    #[default]
    Pod,
    /// A Job.
    Job,
}

impl WorkloadType {
    /// The word in baggage keys (`k8s.<word>.name`).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::CronJob => "cronjob",
            Self::Pod => "pod",
            Self::Job => "job",
        }
    }
}

/// Where a workload runs, for locality-aware routing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// Region.
    pub region: Arc<str>,
    /// Zone.
    pub zone: Arc<str>,
    /// Subzone.
    pub subzone: Arc<str>,
}

/// A protocol the workload itself speaks on a port of its own for traffic from tunnels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ApplicationTunnel {
    /// Whether a PROXY protocol header precedes the data.
    pub proxy_protocol: bool,
    /// The port, if it is not the one addressed.
    pub port: Option<u16>,
}

/// Port of a service → port of the workload.
pub type PortMap = HashMap<u16, u16>;

/// One workload of the mesh (`istio.workload.Workload`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    /// Primary key.
    pub uid: Arc<str>,
    /// Name of record.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
    /// Service account.
    pub service_account: Arc<str>,
    /// Trust domain of its identity.
    pub trust_domain: Arc<str>,
    /// Addresses, IPv4 and IPv6.
    pub ips: Vec<IpAddr>,
    /// Name to resolve when there is no address.
    pub hostname: Arc<str>,
    /// Network the addresses belong to.
    pub network: Arc<str>,
    /// Whether it shares its node's network, and so has no address of its own.
    pub host_network: bool,
    /// How it is reached.
    pub protocol: Protocol,
    /// Node it runs on.
    pub node: Arc<str>,
    /// Name of the owning object, for telemetry.
    pub workload_name: Arc<str>,
    /// Kind of the owning object.
    pub workload_type: WorkloadType,
    /// Canonical service, for telemetry.
    pub canonical_name: Arc<str>,
    /// Canonical revision, for telemetry.
    pub canonical_revision: Arc<str>,
    /// Cluster it belongs to.
    pub cluster_id: Arc<str>,
    /// Where it runs.
    pub locality: Locality,
    /// Services it serves, with their ports.
    pub services: HashMap<ServiceKey, PortMap>,
    /// Policies that name this workload.
    pub authorization_policies: Vec<PolicyKey>,
    /// Whether it can serve.
    pub health: Health,
    /// Weight in load balancing.
    pub capacity: u32,
    /// The waypoint in front of it, if any.
    pub waypoint: Option<GatewayAddress>,
    /// The gateway that leads to its network, if it is another.
    pub network_gateway: Option<GatewayAddress>,
    /// Whether it speaks HBONE itself.
    pub native_tunnel: bool,
    /// Protocol for traffic from tunnels, if any.
    pub application_tunnel: Option<ApplicationTunnel>,
}

impl Workload {
    /// The identity its certificate carries.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::new(
            Arc::clone(&self.trust_domain),
            Arc::clone(&self.namespace),
            Arc::clone(&self.service_account),
        )
    }
}
