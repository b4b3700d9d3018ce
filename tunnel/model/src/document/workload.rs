use crate::{
    ApplicationTunnel, GatewayAddress, Health, Identity, Interner, Locality, NetworkMode, PortMap,
    Protocol, ServicePorts, TunnelProxying, Workload, WorkloadTraits, WorkloadType,
};

use super::mistake::Mistakes;
use super::parse;
use super::shape::{
    ApplicationTunnelDocument, GatewayDocument, LocalityDocument, Port, WorkloadDocument,
};

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
    let words = Words::read(document, mistakes);
    let identity = identity(document, interner, mistakes)?;
    let mut text = |text: &Option<String>| interner.text(text.as_deref().unwrap_or_default());
    let traits = WorkloadTraits {
        hostname: text(&document.hostname),
        network: text(&document.network),
        workload_name: text(&document.workload_name),
        canonical_name: text(&document.canonical_name),
        canonical_revision: text(&document.canonical_revision),
        namespace: interner.text(&document.namespace),
        identity,
        protocol: words.protocol,
        native_tunnel: document.native_tunnel,
        application_tunnel: words.application_tunnel,
        waypoint,
        network_gateway,
        cluster_id: interner.text(
            document
                .cluster_id
                .as_deref()
                .unwrap_or(Workload::DEFAULT_CLUSTER),
        ),
        locality: locality(document.locality.as_ref(), interner),
        workload_type: words.workload_type,
        services,
        authorization_policies,
        network_mode: words.network_mode,
        capacity: document.capacity.unwrap_or(1),
    };
    Some(Workload {
        // Not interned: they are said once.
        uid: document.uid.as_str().into(),
        name: document.name.as_str().into(),
        ips,
        node: interner.text(document.node.as_deref().unwrap_or_default()),
        health: words.health,
        traits: interner.traits(traits),
    })
}

/// What is said in words of a fixed list.
struct Words {
    protocol: Protocol,
    workload_type: WorkloadType,
    health: Health,
    network_mode: NetworkMode,
    application_tunnel: Option<ApplicationTunnel>,
}

impl Words {
    fn read(document: &WorkloadDocument, mistakes: &mut Mistakes<'_>) -> Self {
        let protocol = parse::optional_word(document.protocol.as_deref(), PROTOCOLS);
        let workload_type = parse::optional_word(document.workload_type.as_deref(), TYPES);
        let health = parse::optional_word(document.status.as_deref(), HEALTH);
        let network_mode = parse::optional_word(document.network_mode.as_deref(), NETWORK_MODES);
        let tunnel = document
            .application_tunnel
            .as_ref()
            .map(application_tunnel)
            .transpose();
        Self {
            protocol: mistakes.take("protocol", protocol),
            workload_type: mistakes.take("workloadType", workload_type),
            health: mistakes.take("status", health),
            network_mode: mistakes.take("networkMode", network_mode),
            application_tunnel: mistakes.take("applicationTunnel", tunnel),
        }
    }
}

fn locality(document: Option<&LocalityDocument>, interner: &mut Interner) -> Locality {
    let mut part = |pick: fn(&LocalityDocument) -> &str| interner.text(document.map_or("", pick));
    Locality {
        region: part(|locality| &locality.region),
        zone: part(|locality| &locality.zone),
        subzone: part(|locality| &locality.subzone),
    }
}

fn identity(
    document: &WorkloadDocument,
    interner: &mut Interner,
    mistakes: &mut Mistakes<'_>,
) -> Option<Identity> {
    let trust_domain = document
        .trust_domain
        .as_deref()
        .filter(|text| !text.is_empty());
    let service_account = document
        .service_account
        .as_deref()
        .filter(|text| !text.is_empty());
    let made = interner.identity(
        trust_domain.unwrap_or("cluster.local"),
        &document.namespace,
        service_account.unwrap_or("default"),
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
    interner.services(ServicePorts::new(services))
}
