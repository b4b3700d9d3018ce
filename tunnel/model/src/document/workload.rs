use std::net::IpAddr;

use crate::{
    ApplicationTunnel, GatewayAddress, Health, Identity, Interner, Locality, NetworkMode, PortMap,
    Protocol, ServicePorts, TunnelProxying, Workload, WorkloadType,
};

use super::mistake::Mistakes;
use super::parse;
use super::shape::{ApplicationTunnelDocument, GatewayDocument, Port, WorkloadDocument};

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("TCP", Protocol::Tcp),
    ("NONE", Protocol::Tcp),
    ("HBONE", Protocol::Hbone),
];
const HEALTH: &[(&str, Health)] = &[
    ("Healthy", Health::Healthy),
    ("Unhealthy", Health::Unhealthy),
];
const NETWORK_MODES: &[(&str, NetworkMode)] = &[
    ("Standard", NetworkMode::Standard),
    ("HostNetwork", NetworkMode::HostNetwork),
];
const TYPES: &[(&str, WorkloadType)] = &[
    ("Deployment", WorkloadType::Deployment),
    ("CronJob", WorkloadType::CronJob),
    ("Pod", WorkloadType::Pod),
    ("Job", WorkloadType::Job),
];
const PROXYING: &[(&str, TunnelProxying)] = &[
    ("NONE", TunnelProxying::None),
    ("PROXY", TunnelProxying::Proxy),
];

/// The workload a document entry describes; none when it has no identity to speak of, with the
/// mistake noted.
pub(super) fn read(
    document: &WorkloadDocument,
    interner: &mut Interner,
    mistakes: &mut Mistakes<'_>,
) -> Option<Workload> {
    for (field, value) in [("uid", &document.uid), ("name", &document.name)] {
        if value.is_empty() {
            mistakes.add(field, "is needed");
        }
    }
    let ips = mistakes.each("workloadIps", &document.workload_ips, |text| {
        parse::ip(text)
    });
    let services = services(document, interner, mistakes);
    let named = document
        .authorization_policies
        .as_deref()
        .unwrap_or_default();
    let authorization_policies = mistakes.each("authorizationPolicies", named, |text| {
        parse::policy_key(text, interner)
    });
    let waypoint = gateway("waypoint", document.waypoint.as_ref(), interner, mistakes);
    let network_gateway = gateway(
        "networkGateway",
        document.network_gateway.as_ref(),
        interner,
        mistakes,
    );
    let plain = plain(document, interner, mistakes, ips)?;
    Some(Workload {
        services,
        authorization_policies,
        waypoint,
        network_gateway,
        ..plain
    })
}

/// All that refers to nothing else in the document.
fn plain(
    document: &WorkloadDocument,
    interner: &mut Interner,
    mistakes: &mut Mistakes<'_>,
    ips: Vec<IpAddr>,
) -> Option<Workload> {
    let mut text = |text: &Option<String>| interner.text(text.as_deref().unwrap_or_default());
    let locality = document.locality.as_ref();
    let mut part = |part: Option<&String>| text(&part.cloned());
    let locality = Locality {
        region: part(locality.map(|locality| &locality.region)),
        zone: part(locality.map(|locality| &locality.zone)),
        subzone: part(locality.map(|locality| &locality.subzone)),
    };
    let protocol = parse::optional_word(document.protocol.as_deref(), PROTOCOLS);
    let workload_type = parse::optional_word(document.workload_type.as_deref(), TYPES);
    let health = parse::optional_word(document.status.as_deref(), HEALTH);
    let network_mode = parse::optional_word(document.network_mode.as_deref(), NETWORK_MODES);
    let tunnel = document
        .application_tunnel
        .as_ref()
        .map(application_tunnel)
        .transpose();
    let hostname = text(&document.hostname);
    let network = text(&document.network);
    let node = text(&document.node);
    let workload_name = text(&document.workload_name);
    let canonical_name = text(&document.canonical_name);
    let canonical_revision = text(&document.canonical_revision);
    let cluster = document
        .cluster_id
        .as_deref()
        .unwrap_or(Workload::DEFAULT_CLUSTER);
    let workload = Workload {
        // Not interned: a uid is said once.
        uid: document.uid.as_str().into(),
        name: document.name.as_str().into(),
        namespace: interner.text(&document.namespace),
        identity: identity(document, interner, mistakes)?,
        ips,
        hostname,
        network,
        protocol: mistakes.take("protocol", protocol),
        native_tunnel: document.native_tunnel,
        application_tunnel: mistakes.take("applicationTunnel", tunnel),
        waypoint: None,
        network_gateway: None,
        node,
        cluster_id: interner.text(cluster),
        locality,
        workload_name,
        workload_type: mistakes.take("workloadType", workload_type),
        canonical_name,
        canonical_revision,
        services: ServicePorts::default(),
        authorization_policies: Vec::new(),
        health: mistakes.take("status", health),
        network_mode: mistakes.take("networkMode", network_mode),
        capacity: document.capacity.unwrap_or(1),
    };
    Some(workload)
}

fn identity(
    document: &WorkloadDocument,
    interner: &mut Interner,
    mistakes: &mut Mistakes<'_>,
) -> Option<Identity> {
    let given = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
    let trust_domain = given(&document.trust_domain);
    let service_account = given(&document.service_account);
    let made = interner.identity(
        trust_domain.as_deref().unwrap_or("cluster.local"),
        &document.namespace,
        service_account.as_deref().unwrap_or("default"),
    );
    made.map_err(|error| mistakes.add("identity", error)).ok()
}

fn application_tunnel(document: &ApplicationTunnelDocument) -> Result<ApplicationTunnel, String> {
    let protocol = document.protocol.as_deref().unwrap_or("NONE");
    let proxying = parse::word(protocol, PROXYING)?;
    Ok(ApplicationTunnel {
        proxying,
        port: document.port.filter(|port| *port > 0),
    })
}

pub(super) fn gateway(
    field: &str,
    document: Option<&GatewayDocument>,
    interner: &mut Interner,
    mistakes: &mut Mistakes<'_>,
) -> Option<GatewayAddress> {
    let read = document
        .map(|document| parse::gateway(document, interner))
        .transpose();
    mistakes.take(field, read)
}

fn services(
    document: &WorkloadDocument,
    interner: &mut Interner,
    mistakes: &mut Mistakes<'_>,
) -> ServicePorts {
    let mut services = Vec::new();
    for (name, ports) in document.services.iter().flatten() {
        match parse::service_key(name, interner) {
            Ok(key) => {
                let pairs = ports.iter().map(|(Port(port), target)| (*port, *target));
                services.push((key, PortMap::new(pairs)));
            }
            Err(what) => mistakes.add("services", what),
        }
    }
    ServicePorts::new(services)
}
