use std::net::IpAddr;

use tunnel_model::{
    ApplicationTunnel, Health, Identity, Interner, Locality, NetworkMode, PolicyKey, Protocol,
    ServicePorts, TunnelProxying, Workload, WorkloadTraits, WorkloadType,
};

use super::parts::{self, at, one_of};
use crate::xds::proto::workload as proto;

/// What holds where the protocol leaves a part of the identity out.
const TRUST_DOMAIN: &str = "cluster.local";
const SERVICE_ACCOUNT: &str = "default";

const TYPES: &[WorkloadType] = &[
    WorkloadType::Deployment,
    WorkloadType::CronJob,
    WorkloadType::Pod,
    WorkloadType::Job,
];
const HEALTH: &[Health] = &[Health::Healthy, Health::Unhealthy];
const NETWORK_MODES: &[NetworkMode] = &[NetworkMode::Standard, NetworkMode::HostNetwork];
/// Istio's older protocol has a value too, which no peer of ours speaks.
const PROTOCOLS: &[Protocol] = &[Protocol::Tcp, Protocol::Hbone];
const PROXYING: &[TunnelProxying] = &[TunnelProxying::None, TunnelProxying::Proxy];

pub(super) fn read(message: proto::Workload, interner: &mut Interner) -> Result<Workload, String> {
    if message.uid.is_empty() {
        return Err("uid: is needed".to_owned());
    }
    let application_tunnel = message.application_tunnel.as_ref();
    let waypoint = parts::gateway(message.waypoint.as_ref(), interner);
    let network_gateway = parts::gateway(message.network_gateway.as_ref(), interner);
    let cluster = non_empty(&message.cluster_id).unwrap_or(Workload::DEFAULT_CLUSTER);
    let traits = WorkloadTraits {
        identity: at("identity", identity(&message, interner))?,
        hostname: interner.text(&message.hostname),
        network: interner.text(&message.network),
        protocol: at(
            "tunnel_protocol",
            one_of(PROTOCOLS, message.tunnel_protocol),
        )?,
        native_tunnel: message.native_tunnel,
        application_tunnel: at("application_tunnel", tunnel(application_tunnel))?,
        waypoint: at("waypoint", waypoint)?,
        network_gateway: at("network_gateway", network_gateway)?,
        cluster_id: interner.text(cluster),
        locality: locality(message.locality.as_ref(), interner),
        workload_name: interner.text(&message.workload_name),
        // What comes later than these is for telemetry only, and not worth losing a workload for.
        workload_type: one_of(TYPES, message.workload_type).unwrap_or_default(),
        canonical_name: interner.text(&message.canonical_name),
        canonical_revision: interner.text(&message.canonical_revision),
        services: at("services", services(&message, interner))?,
        authorization_policies: at("authorization_policies", policies(&message, interner))?,
        network_mode: at("network_mode", one_of(NETWORK_MODES, message.network_mode))?,
        capacity: message.capacity.map_or(1, |capacity| capacity.value),
        namespace: interner.text(&message.namespace),
    };
    Ok(Workload {
        ips: at("addresses", ips(&message))?,
        node: interner.text(&message.node),
        health: at("status", one_of(HEALTH, message.status))?,
        traits: interner.traits(traits),
        // Not interned: they are said once.
        uid: message.uid.into(),
        name: message.name.into(),
    })
}

fn non_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn identity(message: &proto::Workload, interner: &mut Interner) -> Result<Identity, String> {
    let trust_domain = non_empty(&message.trust_domain).unwrap_or(TRUST_DOMAIN);
    let service_account = non_empty(&message.service_account).unwrap_or(SERVICE_ACCOUNT);
    interner
        .identity(trust_domain, &message.namespace, service_account)
        .map_err(|why| why.to_string())
}

fn ips(message: &proto::Workload) -> Result<Vec<IpAddr>, String> {
    let addresses = message.addresses.iter();
    addresses.map(|bytes| parts::ip(bytes)).collect()
}

fn tunnel(message: Option<&proto::ApplicationTunnel>) -> Result<Option<ApplicationTunnel>, String> {
    let Some(message) = message else {
        return Ok(None);
    };
    Ok(Some(ApplicationTunnel {
        proxying: one_of(PROXYING, message.protocol)?,
        port: Some(parts::port_or_none(message.port)?).filter(|port| *port > 0),
    }))
}

fn locality(message: Option<&proto::Locality>, interner: &mut Interner) -> Locality {
    let mut part = |pick: fn(&proto::Locality) -> &str| interner.text(message.map_or("", pick));
    Locality {
        region: part(|locality| &locality.region),
        zone: part(|locality| &locality.zone),
        subzone: part(|locality| &locality.subzone),
    }
}

fn services(message: &proto::Workload, interner: &mut Interner) -> Result<ServicePorts, String> {
    let services = message.services.iter().map(|(name, list)| {
        let key = parts::service_key(name, interner)?;
        Ok((key, parts::ports(list)?))
    });
    let services = services.collect::<Result<Vec<_>, String>>()?;
    Ok(interner.services(ServicePorts::new(services)))
}

fn policies(message: &proto::Workload, interner: &mut Interner) -> Result<Vec<PolicyKey>, String> {
    let names = message.authorization_policies.iter();
    names
        .map(|name| parts::policy_key(name, interner))
        .collect()
}
