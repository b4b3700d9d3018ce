//! The state of everything, as the JSON that the admin interface serves.
//!
//! The shape follows upstream's dump where tools read it; `pods` and `readiness` are ours.

pub(crate) mod certificates;
mod cluster;
mod control_plane;

use std::collections::BTreeMap;

use node_agent_cluster::Status;
use node_agent_enrollment::{Entry, Stage, Step, Traffic};
use node_agent_settings::{HostPort, Settings};
use serde_json::{Value, json};
use tunnel_credentials::CertificateSummary;
use tunnel_discovery::XdsStatus;
use tunnel_model::{Policy, Service, Snapshot, Workload};

use crate::certificates::Known;
use crate::probes::Exempted;
use crate::repairs::Repair;

/// What the dump is made of.
pub(crate) struct Sources<'a> {
    pub(crate) mesh: &'a Snapshot,
    pub(crate) certificates: &'a [CertificateSummary],
    /// How it stands with the control plane, if one is followed.
    pub(crate) control_plane: Option<XdsStatus>,
    /// What former workers had, by identity.
    pub(crate) former: &'a BTreeMap<String, Known>,
    pub(crate) pods: &'a [Entry],
    pub(crate) troubles: &'a BTreeMap<String, String>,
    pub(crate) pending: &'a [&'static str],
    pub(crate) settings: &'a Settings,
    /// The API server, if that says which pods there are.
    pub(crate) cluster: Option<Status>,
    /// The node's own probes, if anybody exempts them.
    pub(crate) probes: Option<Exempted>,
}

/// The dump.
pub(crate) fn dump(sources: &Sources<'_>) -> String {
    let Sources {
        mesh,
        certificates,
        control_plane,
        former,
        pods,
        troubles,
        pending,
        settings,
        cluster,
        probes: exempted,
    } = sources;
    let document = json!({
        "workloads": mesh.workloads().map(|w| workload(w)).collect::<Vec<_>>(),
        "services": mesh.services().map(|s| service(s)).collect::<Vec<_>>(),
        "policies": mesh.policies().map(|p| policy(p)).collect::<Vec<_>>(),
        "certificates": certificates::all(certificates, former),
        "controlPlane": control_plane.as_ref().map(control_plane::shown),
        "workloadState": pods.iter().map(state).collect::<BTreeMap<_, _>>(),
        "pods": pods.iter().map(pod).collect::<Vec<_>>(),
        "troubles": troubles,
        "readiness": pending,
        "apiServer": cluster.as_ref().map(cluster::status),
        "nodeProbes": exempted.as_ref().map(node_probes),
        "version": { "version": env!("CARGO_PKG_VERSION") },
        "config": {
            "node": settings.node,
            "clusterId": settings.cluster_id,
            "network": settings.network,
            "trustDomain": settings.trust_domain,
            "ipv6": settings.ipv6,
            "xdsAddress": settings.xds_address.as_ref().map(address),
            "caAddress": settings.ca_address.as_ref().map(address),
            "logLevel": settings.log_level,
        },
    });
    document.to_string()
}

fn node_probes(exempted: &Exempted) -> Value {
    json!({
        "addresses": exempted.tried.len(),
        "backend": exempted.backend.map(|backend| backend.to_string()),
        "problem": exempted.problem,
        "repaired": exempted.repair.as_ref().map(Repair::shown),
    })
}

fn address(server: &HostPort) -> String {
    format!("{}:{}", server.host, server.port)
}

fn workload(workload: &Workload) -> Value {
    json!({
        "uid": workload.uid,
        "name": workload.name,
        "namespace": workload.namespace,
        "workloadIps": workload.ips,
        "protocol": workload.protocol.as_str(),
        "trustDomain": workload.trust_domain(),
        "serviceAccount": workload.service_account(),
        "node": workload.node,
        "network": workload.network,
        "clusterId": workload.cluster_id,
        "workloadName": workload.workload_name,
        "workloadType": workload.workload_type.as_str(),
        "canonicalName": workload.canonical_name,
        "canonicalRevision": workload.canonical_revision,
        "hostname": workload.hostname,
        "nativeTunnel": workload.native_tunnel,
        "capacity": workload.capacity,
        "authorizationPolicies":
            workload.authorization_policies.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "services": workload
            .services
            .iter()
            .map(|(key, ports)| (key.to_string(), ports.iter().collect::<BTreeMap<_, _>>()))
            .collect::<BTreeMap<_, _>>(),
        "status": format!("{:?}", workload.health),
    })
}

fn service(service: &Service) -> Value {
    json!({
        "name": service.name,
        "namespace": service.namespace,
        "hostname": service.hostname,
    })
}

fn policy(policy: &Policy) -> Value {
    json!({
        "name": policy.name,
        "namespace": policy.namespace,
        "scope": format!("{:?}", policy.scope),
        "action": format!("{:?}", policy.action),
        "dryRun": policy.dry_run,
    })
}

fn state(entry: &Entry) -> (String, Value) {
    let up = matches!(entry.stage, Stage::Enrolled(_));
    let record = &entry.record;
    let value = json!({
        "state": if up { "Up" } else { "Pending" },
        "connections": { "inbound": [], "outbound": [] },
        "info": {
            "name": record.pod.name,
            "namespace": record.pod.namespace,
            "serviceAccount": record.service_account,
        },
    });
    (record.pod.key().to_string(), value)
}

/// One attachment.
pub(crate) fn pod(entry: &Entry) -> Value {
    let record = &entry.record;
    json!({
        "namespace": record.pod.namespace,
        "name": record.pod.name,
        "uid": record.pod.uid,
        "serviceAccount": record.service_account,
        "stage": stage(&entry.stage),
        "addresses": record.addresses,
        "containerId": record.attachment.container_id,
        "ifname": record.attachment.ifname,
        "netns": record.netns,
    })
}

fn stage(stage: &Stage) -> &'static str {
    match stage {
        Stage::Opening => "opening listeners",
        Stage::Installing => "rules being installed",
        Stage::Probing => "being probed",
        Stage::AwaitingCertificate => "awaiting its certificate",
        Stage::Recording(_) => "being recorded",
        Stage::Enrolled(Traffic::Ready) => "enrolled",
        Stage::Enrolled(Traffic::Held) => "enrolled, traffic held",
        Stage::Restoring => "being restored",
        Stage::Joining(Step::Certificate) => "joining: awaiting its certificate",
        Stage::Joining(Step::Listeners) => "joining: opening listeners",
        Stage::Joining(Step::Intent | Step::Record) => "joining: being recorded",
        Stage::Joining(Step::Rules) => "joining: rules being installed",
        Stage::Joining(Step::Probe) => "joining: being probed",
        Stage::Draining => "draining: nothing new is captured",
        Stage::Leaving(_) => "leaving",
        Stage::Gone => "gone",
    }
}
