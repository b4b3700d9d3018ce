//! Who takes part in the demo, and what the agents are told of them.

use anyhow::{Result, anyhow};
use e2e_netlab::mesh::{Mesh, ServicePort, host};
use e2e_netlab::{Lab, OwnTls, Pod, PodSpec};
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Kubernetes namespace of the pods in the mesh.
pub(super) const MESHED: &str = "demo";
/// Kubernetes namespace of the pods outside.
pub(super) const PLAIN: &str = "plain";
/// The plain server's port: used by nothing else, so that the capture tells it apart.
pub(super) const PLAIN_PORT: u16 = 9080;
/// The meshed server's port that only the outsider calls, for the same reason.
pub(super) const OUTSIDER_PORT: u16 = 8081;
/// The meshed server's HTTP port.
pub(super) const HTTP_PORT: u16 = 8080;
/// What the server's service offers: HTTP, a server that speaks first, TLS.
pub(super) const SERVICE: [ServicePort; 3] = [
    ServicePort {
        service: 80,
        target: HTTP_PORT,
    },
    ServicePort {
        service: 2500,
        target: 8082,
    },
    ServicePort {
        service: 443,
        target: 8443,
    },
];

/// The two texts that the capture is searched for.
pub(super) struct Markers {
    /// In everything that goes through the mesh: must not be found.
    pub(super) secret: String,
    /// In one call that leaves the mesh in clear: must be found, or the search proves nothing.
    pub(super) control: String,
}

impl Markers {
    /// Fresh ones, that nothing else can contain.
    pub(super) fn new() -> Result<Self> {
        let random = || getrandom::u64().map_err(|error| anyhow!("no random number: {error}"));
        Ok(Self {
            secret: format!("secret-{:016x}", random()?),
            control: format!("control-{:016x}", random()?),
        })
    }
}

/// The pods, running.
pub(super) struct Cast {
    /// In the mesh, allowed to call.
    pub(super) client: Pod,
    /// In the mesh, not allowed to call.
    pub(super) denied: Pod,
    /// In the mesh, called.
    pub(super) server: Pod,
    /// Outside, calls.
    pub(super) plain_client: Pod,
    /// Outside, called.
    pub(super) plain_server: Pod,
}

/// The service's virtual address in a family.
pub(super) fn vip(ipv6: bool, port: u16) -> SocketAddr {
    SocketAddr::new(vips()[usize::from(ipv6)], port)
}

fn vips() -> [IpAddr; 2] {
    let ipv6 = Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10);
    [IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), IpAddr::V6(ipv6)]
}

/// The pods to make, each with its node; a pod's service account has the pod's name.
pub(super) fn specs(own_tls: &OwnTls, markers: &Markers) -> [(&'static str, PodSpec); 5] {
    let services = [
        ("http", HTTP_PORT),
        ("echo", OUTSIDER_PORT),
        ("banner", 8082),
        ("tls", 8443),
    ];
    let server =
        PodSpec::server(MESHED, "server", &services).with_env("PODKIT_BANNER", &markers.secret);
    [
        ("a", own_tls.for_client(PodSpec::idle(MESHED, "client"))),
        ("a", PodSpec::idle(MESHED, "denied")),
        ("b", own_tls.for_server(server)),
        ("a", PodSpec::idle(PLAIN, "client")),
        (
            "b",
            PodSpec::server(PLAIN, "server", &[("http", PLAIN_PORT)]),
        ),
    ]
}

/// What the agents know before any pod exists: who is expected, the service, and the policy.
pub(super) fn mesh(specs: &[(&str, PodSpec)]) -> Mesh {
    let mut mesh = Mesh::default();
    mesh.namespace(MESHED, true);
    mesh.namespace(PLAIN, false);
    for (_, spec) in specs {
        mesh.pod(spec, &spec.name);
    }
    mesh.service(MESHED, "server", &vips(), &SERVICE);
    let client = format!("cluster.local/ns/{MESHED}/sa/client");
    mesh.policy(
        MESHED,
        "only-client",
        "Allow",
        &json!([[[{"principals": [{"Exact": client}]}]]]),
    );
    mesh
}

/// Makes the pods, then tells every agent where they are.
pub(super) fn enter(lab: &Lab, specs: &[(&str, PodSpec)], mesh: &mut Mesh) -> Result<Cast> {
    let pods = lab.run_pods(specs)?;
    let name = host(MESHED, "server");
    for pod in &pods {
        let protocol = if pod.spec().namespace == MESHED {
            "HBONE"
        } else {
            "TCP"
        };
        let serves = pod.spec().namespace == MESHED && pod.spec().name == "server";
        let services: &[(&str, &[ServicePort])] = if serves { &[(&name, &SERVICE)] } else { &[] };
        mesh.workload(pod, &pod.spec().name, protocol, services);
    }
    lab.publish_mesh(mesh)?;
    let pods: [Pod; 5] = pods.try_into().map_err(|_| anyhow!("not five pods"))?;
    let [client, denied, server, plain_client, plain_server] = pods;
    Ok(Cast {
        client,
        denied,
        server,
        plain_client,
        plain_server,
    })
}
