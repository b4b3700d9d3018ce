//! The control plane: a machine with etcd, the API server, the controllers and the scheduler, and the switch that joins
//! the nodes.

use crate::addresses::{API_SERVICE, CONTROL, Place, SERVICES};
use crate::certificates::{Authority, Subject};
use crate::kubectl::Kubectl;
use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use e2e_netlab::wait;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// The API server's address.
pub(crate) fn server() -> String {
    format!("https://{CONTROL}:6443")
}

/// Makes the switch.
pub(crate) fn make_switch(machine: &Machine) -> Result<()> {
    machine.ip(&format!(
        "link add br0 type bridge forward_delay 0\naddr add {CONTROL}/24 dev br0\nlink set br0 up\n"
    ))
}

/// Tells the control plane where pods are, and that services are reached through the first node: the API server calls
/// webhooks by their services' addresses.
pub(crate) fn route(machine: &Machine, places: &[Place]) -> Result<()> {
    let mut script = String::new();
    for place in places {
        writeln!(script, "route add {} via {}", place.pods(), place.node())?;
    }
    if let Some(first) = places.first() {
        writeln!(script, "route add {SERVICES} via {}", first.node())?;
    }
    machine.ip(&script)
}

/// Issues what the control plane's programs need.
pub(crate) fn issue(authority: &Authority) -> Result<PathBuf> {
    let hosts = [
        CONTROL.to_string(),
        API_SERVICE.to_string(),
        "127.0.0.1".to_owned(),
        "kubernetes.default.svc".to_owned(),
    ];
    authority.issue(Subject {
        file: "apiserver",
        user: "kube-apiserver",
        group: "",
        hosts: hosts.to_vec(),
    })?;
    for (file, user, group) in [
        ("admin", "admin", "system:masters"),
        ("controllers", "system:kube-controller-manager", ""),
        ("scheduler", "system:kube-scheduler", ""),
        ("proxy", "system:kube-proxy", ""),
    ] {
        authority.issue(Subject {
            file,
            user,
            group,
            hosts: Vec::new(),
        })?;
        authority.kubeconfig(file, &server())?;
    }
    Ok(authority.file("admin.kubeconfig"))
}

/// Starts the store and the API server.
pub(crate) fn start_api(machine: &Machine, authority: &Authority) -> Result<()> {
    let mut etcd = machine.enter("server");
    // Its data are in memory and go with the machine.
    etcd.args([
        "--data-dir=/var/lib/etcd",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]);
    machine.daemon("etcd", &mut etcd)?;
    start_api_server(machine, authority)
}

/// Starts the API server on a store that runs.
pub(crate) fn start_api_server(machine: &Machine, authority: &Authority) -> Result<()> {
    let mut api = machine.enter("kube-apiserver");
    api.args(api_flags(authority));
    machine.daemon("kube-apiserver", &mut api)
}

fn api_flags(authority: &Authority) -> Vec<String> {
    let issuer = "https://kubernetes.default.svc";
    let file = |name: &str| authority.file(name).display().to_string();
    [
        ("etcd-servers", "http://127.0.0.1:2379".to_owned()),
        ("bind-address", "0.0.0.0".to_owned()),
        ("advertise-address", CONTROL.to_string()),
        ("tls-cert-file", file("apiserver.crt")),
        ("tls-private-key-file", file("apiserver.key")),
        ("client-ca-file", file("ca.crt")),
        ("service-account-key-file", file("accounts.pub")),
        ("service-account-signing-key-file", file("accounts.key")),
        ("service-account-issuer", issuer.to_owned()),
        ("api-audiences", format!("{issuer},istio-ca")),
        ("service-cluster-ip-range", SERVICES.to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("allow-privileged", "true".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("kubelet-certificate-authority", file("ca.crt")),
        ("kubelet-client-certificate", file("admin.crt")),
        ("kubelet-client-key", file("admin.key")),
        // Nodes' names are in no name server.
        ("kubelet-preferred-address-types", "InternalIP".to_owned()),
        ("profiling", "false".to_owned()),
    ]
    .map(|(name, value)| format!("--{name}={value}"))
    .to_vec()
}

/// Waits until the API server serves.
pub(crate) fn wait_for_api(machine: &Machine, kubectl: &Kubectl) -> Result<()> {
    wait::until("the API server is ready", PATIENCE, || {
        machine.check()?;
        kubectl.run(&["get", "--raw", "/readyz"]).map(drop)
    })
}

/// Starts the controllers and the scheduler.
pub(crate) fn start_controllers(machine: &Machine, authority: &Authority) -> Result<()> {
    let file = |name: &str| authority.file(name).display().to_string();
    let mut controllers = machine.enter("kube-controller-manager");
    controllers.args(
        [
            ("kubeconfig", file("controllers.kubeconfig")),
            ("service-account-private-key-file", file("accounts.key")),
            ("root-ca-file", file("ca.crt")),
            ("cluster-signing-cert-file", file("ca.crt")),
            ("cluster-signing-key-file", file("ca.key")),
            ("use-service-account-credentials", "true".to_owned()),
            // There is one of each: nobody to elect.
            ("leader-elect", "false".to_owned()),
        ]
        .map(|(name, value)| format!("--{name}={value}")),
    );
    machine.daemon("kube-controller-manager", &mut controllers)?;
    let mut scheduler = machine.enter("kube-scheduler");
    scheduler
        .arg(format!("--kubeconfig={}", file("scheduler.kubeconfig")))
        .arg("--leader-elect=false");
    machine.daemon("kube-scheduler", &mut scheduler)
}

/// A node's link on the switch.
pub(crate) fn port(node: &str) -> String {
    format!("to-{node}")
}

/// Joins a node to the switch.
pub(crate) fn plug_in(control: &Machine, node: &Machine) -> Result<()> {
    let (name, target) = (node.name(), node.init().pid);
    let port = port(name);
    ensure!(
        port.len() < 16,
        "the node's name {name} is too long for a link"
    );
    let script = format!(
        "link add {port} type veth peer name eth0 netns {target}\n\
         link set {port} master br0\nlink set {port} up\n"
    );
    control
        .ip(&script)
        .with_context(|| format!("joining {name}"))
}

/// Where a cluster keeps its certificates.
pub(crate) fn pki(directory: &Path) -> PathBuf {
    directory.join("pki")
}
