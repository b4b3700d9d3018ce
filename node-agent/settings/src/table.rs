//! The table of settings: one row each, from which the typed struct, its reader and its help come.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use node_agent_enrollment::Selectors;
use serde_json::{Map, Value};

use crate::choices::{
    IptablesBackend, LogFormat, OnMissingCertificate, OnUnknownPod, PodsSource, WorkerThreads,
};
use crate::cni::{CniMode, CniProfile, Paths};
use crate::kinds::{Blocks, ByteSize, HostPort, Kind};
use crate::mistakes::Mistake;

/// One row of the table, for help texts and generated documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The key, as it stands in the file.
    pub key: &'static str,
    /// The type's name for people.
    pub kind: &'static str,
    /// What holds when the key is absent.
    pub default: Default,
    /// What the number counts; empty where the type already says it.
    pub unit: &'static str,
    /// Which values are accepted beyond the type.
    pub limits: Limits,
    /// What it does, in whole sentences.
    pub help: &'static str,
}

/// What holds when a key is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// The key must be given.
    Required,
    /// The feature is off or the file is not used.
    Absent,
    /// This value, written as in the file.
    Is(&'static str),
}

/// Which values are accepted beyond the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// All of the type.
    Any,
    /// From the first to the second, both included, written as in the file.
    Span(&'static str, &'static str),
    /// A name: letters, digits, dots, dashes and underscores, not empty.
    Name,
}

macro_rules! settings {
    ($(
        $(#[doc = $help:literal])+
        $field:ident $key:literal: $type:ty = $default:expr, $limits:expr, $unit:literal;
    )+) => {
        /// All settings of the agent, typed, defaults filled in.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            $( $(#[doc = $help])+ pub $field: $type, )+
        }

        const ROWS: &[Row] = &[$(
            Row {
                key: $key,
                kind: <$type as Kind>::NAME,
                default: $default,
                unit: $unit,
                limits: $limits,
                help: concat!($($help),+),
            },
        )+];

        /// Reads every row; the settings only if each could be read.
        pub(crate) fn read(map: &Map<String, Value>) -> (Option<Settings>, Vec<Mistake>) {
            let mut mistakes = Vec::new();
            let mut rows = ROWS.iter();
            $( let $field: Option<$type> =
                rows.next().and_then(|row| read_row(row, map, &mut mistakes)); )+
            let whole = || Some(Settings { $( $field: $field?, )+ });
            (whole(), mistakes)
        }
    };
}

settings! {
    /// Name of the node this agent serves; it stands in logs and in the workloads the agent makes
    /// for its own pods. Left out, the pod's environment says it.
    node "node": String = Default::Required, Limits::Name, "";
    /// Name of the cluster this node belongs to.
    cluster_id "clusterId": String = Default::Is("Kubernetes"), Limits::Name, "";
    /// DNS suffix of the cluster's services.
    cluster_domain "clusterDomain": String = Default::Is("cluster.local"), Limits::Name, "";
    /// Trust domain of every identity: a certificate of another one is refused.
    trust_domain "trustDomain": String = Default::Is("cluster.local"), Limits::Name, "";
    /// Name of the network the node's pods are in; addresses are looked up within it.
    network "network": String = Default::Is(""), Limits::Any, "";
    /// The address blocks of the cluster's pods. Of an address in them that the mesh does not know
    /// the API server is asked, before anything is sent there in clear. Not set: all private
    /// addresses are asked about. A block that is left out here is reached in clear while the
    /// control plane is behind. Has an effect only where pods is kubernetes.
    pod_cidrs "podCidrs": Option<Blocks> = Default::Absent, Limits::Any, "";
    /// The mesh's root namespace, whose policies may select pods of all namespaces.
    root_namespace "rootNamespace": String = Default::Is("istio-system"), Limits::Name, "";
    /// Unix socket the CNI plugin calls. Its directory is created with mode 0700, the socket with
    /// mode 0600.
    socket "socket": PathBuf = Default::Is("/run/ambient/agent.sock"), Limits::Any, "";
    /// Unix socket at which the next agent asks for everything that this one keeps open, so that an
    /// upgrade loses no connection. Both must name the same; directory and socket are made as
    /// above.
    holder_socket "holderSocket": PathBuf =
        Default::Is("/run/ambient/holder.sock"), Limits::Any, "";
    /// The newest version of the holder's protocol to speak. Only for roll-outs that must go back
    /// to an older agent.
    holder_protocol "holderProtocol": u32 = Default::Is("4"), Limits::Span("1", "4"), "";
    /// A worker that gives no sign of life for this long is killed and replaced by its holder.
    worker_deadline "workerDeadline": Duration =
        Default::Is("10s"), Limits::Span("1s", "5m"), "";
    /// How long to serve on after SIGTERM for a successor that is started later, in a process that
    /// goes on while the main one ends at once. Only where nobody ends the processes of a stopped
    /// service: systemd with KillMode=process; not in a container. 0s drains at SIGTERM.
    linger "linger": Duration = Default::Is("0s"), Limits::Span("0s", "1h"), "";
    /// Directory for the table of enrolled pods, which must outlive the agent but not the node's
    /// boot.
    state_dir "stateDir": PathBuf = Default::Is("/var/lib/ambient"), Limits::Any, "";
    /// Who says which pods are in the mesh: file, by podsFile, or kubernetes, by the labels that the
    /// API server shows.
    pods "pods": PodsSource = Default::Is("file"), Limits::Any, "";
    /// How to reach the API server, if pods is kubernetes and the agent is no pod. It may start no
    /// program for its credentials, and files it names must lie in its directory.
    kubeconfig "kubeconfig": Option<PathBuf> = Default::Absent, Limits::Any, "";
    /// Directory with the token and the certificate by which a pod asks the API server. Both are read
    /// again when Kubernetes replaces them.
    service_account_dir "serviceAccountDir": PathBuf =
        Default::Is("/var/run/secrets/kubernetes.io/serviceaccount"), Limits::Any, "";
    /// Which labels put a pod into the mesh: a list of podSelector and namespaceSelector, as
    /// Kubernetes writes them; one of the list must select the pod, with both of its halves. Not
    /// set: istio.io/dataplane-mode is ambient on the pod, or on its namespace and not none on the
    /// pod.
    enablement_selectors "enablementSelectors": Option<Selectors> =
        Default::Absent, Limits::Any, "";
    /// What happens to a new pod if the API server must be asked about it and does not answer: fail
    /// does not let it start, start lets it start outside of the mesh. A pod whose namespace is in
    /// the mesh never starts then.
    on_unknown_pod "onUnknownPod": OnUnknownPod = Default::Is("fail"), Limits::Any, "";
    /// How long creating a pod that the API server has not told of waits for its answer.
    pod_lookup_timeout "podLookupTimeout": Duration =
        Default::Is("3s"), Limits::Span("100ms", "60s"), "";
    /// The host's /proc as the agent sees it, in which it finds pods that ran before it, and the node's
    /// network namespace, where it exempts the node's probes of enrolled pods from policy. Left as it
    /// is, the agent takes its own network namespace for the node's.
    proc_dir "procDir": PathBuf = Default::Is("/proc"), Limits::Any, "";
    /// Directories in which runtimes give names to pods' network namespaces, as the agent sees them.
    netns_dirs "netnsDirs": Paths =
        Default::Is("[/run/netns,/var/run/docker/netns]"), Limits::Any, "";
    /// File that names ambient namespaces, pods and their service accounts. Read again when it
    /// changes; a file with mistakes is reported and the last good one stays in force. A pod listed
    /// with netns, addresses and containerId is taken in and out while it runs, without cutting
    /// connections.
    pods_file "podsFile": Option<PathBuf> = Default::Absent, Limits::Any, "";
    /// File with the mesh's workloads, services and policies. Read again when it changes; a file
    /// with mistakes is reported and the last good one stays in force.
    mesh_file "meshFile": Option<PathBuf> = Default::Absent, Limits::Any, "";
    /// The control plane (istiod) that tells of the mesh's workloads, services and policies, instead
    /// of meshFile. What it has told stays in force while it cannot be reached. A name is resolved
    /// for each connection.
    xds_address "xdsAddress": Option<HostPort> = Default::Absent, Limits::Any, "";
    /// The name that the certificate of xdsAddress must hold. Not set: the host of xdsAddress.
    xds_server_name "xdsServerName": Option<String> = Default::Absent, Limits::Name, "";
    /// The certificate authority (istiod) that signs for the pods of this node, instead of the
    /// development authority.
    ca_address "caAddress": Option<HostPort> = Default::Absent, Limits::Any, "";
    /// The name that the certificate of caAddress must hold. Not set: the host of caAddress.
    ca_server_name "caServerName": Option<String> = Default::Absent, Limits::Name, "";
    /// The roots by which xdsAddress and caAddress are believed (PEM); read for each connection.
    root_cert_file "rootCertFile": PathBuf =
        Default::Is("/var/run/secrets/istio/root-cert.pem"), Limits::Any, "";
    /// How long other nodes are given to hear of new roots in rootCertFile before certificates of this
    /// node's pods follow them, each after once to twice this time. Roots that are gone from the file
    /// are believed for five times as long.
    root_rotation_pause "rootRotationPause": Duration =
        Default::Is("2m"), Limits::Span("1s", "1h"), "";
    /// The token by which xdsAddress and caAddress believe us, bound to the agent's own pod; read
    /// for each call.
    token_file "tokenFile": PathBuf =
        Default::Is("/var/run/secrets/tokens/istio-token"), Limits::Any, "";
    /// Name of the agent's own pod. Needed for xdsAddress; left out, the pod's environment says it,
    /// as it says the three that follow.
    pod_name "podName": Option<String> = Default::Absent, Limits::Name, "";
    /// Namespace of the agent's own pod, as its token says. Needed for xdsAddress.
    pod_namespace "podNamespace": Option<String> = Default::Absent, Limits::Name, "";
    /// Service account of the agent's own pod, told to xdsAddress.
    service_account "serviceAccount": Option<String> = Default::Absent, Limits::Name, "";
    /// Address of the agent's own pod, told to xdsAddress.
    pod_ip "podIp": Option<IpAddr> = Default::Absent, Limits::Any, "";
    /// Allows what must never run in production: the development certificate authority.
    development "development": bool = Default::Is("false"), Limits::Any, "";
    /// Certificate of the development authority (PEM), shared by all nodes. Needs development.
    development_ca_cert "developmentCaCert": Option<PathBuf> = Default::Absent, Limits::Any, "";
    /// Private key of the development authority (PEM). Needs development.
    development_ca_key "developmentCaKey": Option<PathBuf> = Default::Absent, Limits::Any, "";
    /// How long a pod's certificate is valid; it is renewed at about half of it.
    certificate_ttl "certificateTtl": Duration =
        Default::Is("24h"), Limits::Span("10s", "90d"), "";
    /// How long creating a pod waits for its certificate before onMissingCertificate decides.
    certificate_wait "certificateWait": Duration =
        Default::Is("5s"), Limits::Span("0s", "60s"), "";
    /// What happens to a new pod whose certificate did not come in time: hold starts it with its
    /// mesh traffic waiting, never in clear; fail refuses the pod, and the runtime tries again.
    on_missing_certificate "onMissingCertificate": OnMissingCertificate =
        Default::Is("hold"), Limits::Any, "";
    /// The longest the agent works on creating one pod, even if the plugin would wait longer.
    admission_deadline "admissionDeadline": Duration =
        Default::Is("15s"), Limits::Span("1s", "5m"), "";
    /// Where the admin interface listens; loopback only, because it can stop the agent.
    admin_address "adminAddress": SocketAddr =
        Default::Is("127.0.0.1:15000"), Limits::Any, "";
    /// Where metrics are served in the Prometheus format.
    metrics_address "metricsAddress": SocketAddr = Default::Is("[::]:15020"), Limits::Any, "";
    /// Where readiness is served (/healthz/ready).
    readiness_address "readinessAddress": SocketAddr =
        Default::Is("[::]:15021"), Limits::Any, "";
    /// Whether pods' IPv6 traffic is captured. Off means that IPv6 leaves pods unprotected.
    ipv6 "ipv6": bool = Default::Is("true"), Limits::Any, "";
    /// Whether pods' DNS queries are captured. Not built yet: must be false.
    dns_capture "dnsCapture": bool = Default::Is("false"), Limits::Any, "";
    /// Which iptables programs write the pods' rules; auto follows what the node already uses.
    iptables_backend "iptablesBackend": IptablesBackend = Default::Is("auto"), Limits::Any, "";
    /// Threads that move the traffic of one pod; auto takes half of the processors, at least one and at most four. In all
    /// there are sixteen times as many, at least 32, started as pods come: each pod shares its own with as few others as
    /// possible.
    worker_threads "workerThreads": WorkerThreads = Default::Is("auto"), Limits::Any, "";
    /// Connections one pod may have open through the tunnel, on each worker thread; further ones
    /// wait to be accepted.
    max_connections_per_pod "maxConnectionsPerPod": u32 =
        Default::Is("20000"), Limits::Span("1", "1000000"), "connections";
    /// Streams a peer may open in one tunnel to a pod of this node.
    max_streams_per_tunnel "maxStreamsPerTunnel": u32 =
        Default::Is("200"), Limits::Span("1", "10000"), "streams";
    /// Streams a pod of this node opens in one tunnel before it takes another; 1 makes a tunnel for each
    /// connection, which ends with it.
    pool_max_streams "poolMaxStreams": u32 =
        Default::Is("100"), Limits::Span("1", "10000"), "streams";
    /// Bytes a peer may send in one stream before it must wait for the receiver.
    stream_window "streamWindow": ByteSize =
        Default::Is("1MiB"), Limits::Span("64KiB", "64MiB"), "";
    /// Bytes a peer may send in one tunnel before it must wait for the receivers.
    tunnel_window "tunnelWindow": ByteSize =
        Default::Is("100MiB"), Limits::Span("64KiB", "1GiB"), "";
    /// How long a peer may take for TLS and HTTP/2 to be set up.
    handshake_timeout "handshakeTimeout": Duration =
        Default::Is("10s"), Limits::Span("100ms", "2m"), "";
    /// How long connecting to a peer or to an application may take.
    connect_timeout "connectTimeout": Duration =
        Default::Is("10s"), Limits::Span("100ms", "2m"), "";
    /// How long connections may go on after the agent was asked to stop and no successor serves; what
    /// is left then is cut and reported.
    drain_deadline "drainDeadline": Duration =
        Default::Is("5s"), Limits::Span("0s", "24h"), "";
    /// How long connections of an agent may go on whose successor serves already, so that nobody waits
    /// for its end; what is left then is cut and reported. Whoever started it must let it live so long
    /// (terminationGracePeriodSeconds).
    succession_deadline "successionDeadline": Duration =
        Default::Is("1h"), Limits::Span("0s", "7d"), "";
    /// How long connections that were captured may go on after a running pod was taken out of the
    /// mesh; what is left then is cut and reported.
    leave_deadline "leaveDeadline": Duration =
        Default::Is("1h"), Limits::Span("0s", "7d"), "";
    /// How long a tunnel without streams is kept for the next connection.
    tunnel_idle "tunnelIdle": Duration = Default::Is("5m"), Limits::Span("1s", "24h"), "";
    /// Sockets that a busy pod has in stock on each worker thread, of each kind, so that a new
    /// connection need not ask the holder for one; 0 asks for each.
    socket_stock "socketStock": u32 = Default::Is("64"), Limits::Span("0", "64"), "sockets";
    /// What is logged: a level (error, warn, info, debug, trace), or levels by part, such as
    /// info,tunnel=debug.
    log_level "logLevel": String = Default::Is("info"), Limits::Any, "";
    /// How it is logged: plain for people, json for collectors.
    log_format "logFormat": LogFormat = Default::Is("plain"), Limits::Any, "";
    /// Namespaces whose pods are never in the mesh, whatever their labels say.
    exclude_namespaces "excludeNamespaces": Vec<String> =
        Default::Is("[kube-system]"), Limits::Any, "";
    /// Socket of a foreign node agent that drives the tunnel over the ZDS protocol. When given,
    /// the plugin socket is not served and podsFile is not used.
    zds_socket "zdsSocket": Option<PathBuf> = Default::Absent, Limits::Any, "";
    /// Namespace of the agent's own pod, which the plugin lets pass: it could not start if it had to
    /// wait for itself.
    agent_namespace "agentNamespace": Option<String> = Default::Absent, Limits::Name, "";
    /// How names of the agent's pods begin.
    agent_pod_prefix "agentPodPrefix": String =
        Default::Is("ambient-agent-"), Limits::Name, "";
    /// The kind of node, which says where the runtime looks for plugins and their configuration;
    /// containerd fits EKS and AKS too. The settings that follow replace single facts of it.
    cni_profile "cniProfile": CniProfile = Default::Is("containerd"), Limits::Any, "";
    /// How the runtime is brought to run the plugin. owned: by a list of our own which is found
    /// first and follows the primary plugin's list, so that no pod starts outside the mesh when that
    /// is rewritten. chained: by an entry in the primary plugin's list. standalone: by name, for
    /// Multus. Not set: as the profile says, standalone for openshift, else owned.
    cni_mode "cniMode": Option<CniMode> = Default::Absent, Limits::Any, "";
    /// Where the runtime looks for configuration, as the host names it. Not set: as the profile
    /// says.
    cni_conf_dir "cniConfDir": Option<PathBuf> = Default::Absent, Limits::Any, "";
    /// Where the runtime looks for plugins, as the host names it; if it looks in several places,
    /// the first. A list installs into each. Not set: as the profile says.
    cni_bin_dir "cniBinDir": Option<Paths> = Default::Absent, Limits::Any, "";
    /// Where the host's directories are in the installer's container: /host if cniConfDir
    /// /etc/cni/net.d is mounted at /host/etc/cni/net.d.
    cni_host_root "cniHostRoot": PathBuf = Default::Is("/"), Limits::Any, "";
    /// Name of the file that is ours alone. Not set: 02-ambient.conflist in owned mode, where it
    /// must sort before the primary plugin's file; zzz-ambient-cni.conf in standalone mode.
    cni_conflist_name "cniConflistName": Option<String> = Default::Absent, Limits::Name, "";
    /// Name of the primary plugin's file. Not set: the first good one, which the runtime takes too.
    cni_primary_name "cniPrimaryName": Option<String> = Default::Absent, Limits::Name, "";
    /// The plugin that is copied to the host. Not set: ambient-cni beside this program.
    cni_plugin_program "cniPluginProgram": Option<PathBuf> = Default::Absent, Limits::Any, "";
    /// Directory for what an uninstall must know, such as files as they were; in a container, a
    /// directory of the host mounted at this place. It must outlive the node's boot, and be none
    /// that the agent's worker can write.
    cni_state_dir "cniStateDir": PathBuf = Default::Is("/var/lib/ambient-cni"), Limits::Any, "";
    /// The agent's socket as the plugin on the host sees it. Not set: the same path as socket.
    cni_agent_socket "cniAgentSocket": Option<PathBuf> = Default::Absent, Limits::Any, "";
    /// File on the host in which the plugin records its calls. Not set: it records none.
    cni_log_file "cniLogFile": Option<PathBuf> = Default::Absent, Limits::Any, "";
}

/// The rows of the table, in the order of the documentation.
#[must_use]
pub fn rows() -> &'static [Row] {
    ROWS
}

fn read_row<T: Kind>(
    row: &Row,
    map: &Map<String, Value>,
    mistakes: &mut Vec<Mistake>,
) -> Option<T> {
    let outcome = match (map.get(row.key), row.default) {
        (Some(value), _) => T::read(value).and_then(|read| row.limits.check(read)),
        (None, Default::Required) => Err("must be given".to_owned()),
        (None, Default::Absent) => T::read(&Value::Null),
        (None, Default::Is(text)) => T::read(&literal(text)),
    };
    outcome
        .map_err(|problem| mistakes.push(Mistake::about(row.key, problem)))
        .ok()
}

impl Limits {
    fn check<T: Kind>(self, value: T) -> Result<T, String> {
        match self {
            Self::Any => Ok(value),
            Self::Name => match value.text() {
                Some(text) if !is_name(text) => Err(format!(
                    "expected letters, digits, dots, dashes and underscores, found {text:?}"
                )),
                _ => Ok(value),
            },
            Self::Span(low, high) => {
                let (least, most) = (T::read(&literal(low))?, T::read(&literal(high))?);
                if value.precedes(&least) || most.precedes(&value) {
                    Err(format!("must be from {low} to {high}"))
                } else {
                    Ok(value)
                }
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Defaults and limits stand in the table as they would in the file; this decodes them.
fn literal(text: &str) -> Value {
    if let Some(items) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return items
            .split(',')
            .filter(|item| !item.is_empty())
            .map(Value::from)
            .collect();
    }
    match (text, text.parse::<u64>()) {
        ("true", _) => Value::Bool(true),
        ("false", _) => Value::Bool(false),
        (_, Ok(number)) => Value::from(number),
        _ => Value::from(text),
    }
}
