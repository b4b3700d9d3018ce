//! The texts that a node's programs are configured with.

use crate::addresses::{DNS_SERVICE, PODS, Place};
use crate::images::WORKLOAD;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// The pods' network: each has a wire of its own to the node, so that all packets pass the node's rules, also those to a
/// service whose pod is on the same node.
pub(super) fn network(place: Place) -> Value {
    json!({
        "cniVersion": "1.1.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": place.pods()}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": "/run/cni-ipam",
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

/// containerd's: its usual directories and sockets, which are the machine's own.
pub(super) fn runtime(runc: Option<&Path>) -> String {
    let mut text = format!(
        "version = 3\n\
         [plugins.\"io.containerd.cri.v1.images\".pinned_images]\nsandbox = {WORKLOAD:?}\n\
         [plugins.\"io.containerd.cri.v1.runtime\"]\n\
         # No CAP_SYS_RESOURCE may be had in a virtual machine or container that runs tests.\n\
         restrict_oom_score_adj = true\n\
         [plugins.\"io.containerd.cri.v1.runtime\".cni]\n\
         bin_dirs = [\"/opt/cni/bin\"]\nconf_dir = \"/etc/cni/net.d\"\n\
         [plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.runc]\n\
         runtime_type = \"io.containerd.runc.v2\"\n"
    );
    if let Some(runc) = runc {
        let _ = write!(
            text,
            "[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.runc.options]\n\
             BinaryName = \"{}\"\n",
            runc.display()
        );
    }
    text
}

/// What differs between kubelets.
pub(super) struct Kubelet<'a> {
    pub(super) cgroup: &'a str,
    pub(super) authority: &'a Path,
    pub(super) certificate: &'a Path,
    pub(super) key: &'a Path,
}

/// The kubelet's.
pub(super) fn kubelet(parts: &Kubelet<'_>) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": parts.authority},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": parts.certificate,
        "tlsPrivateKeyFile": parts.key,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", parts.cgroup),
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": "cluster.local",
        "resolvConf": "/etc/resolv.conf",
        // How full this machine's disk is says nothing about a node.
        "evictionHard": {
            "memory.available": "10Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
        },
        "localStorageCapacityIsolation": false,
        "imageGCHighThresholdPercent": 100,
        "syncFrequency": "5s",
        "nodeStatusUpdateFrequency": "2s",
        "maxPods": 250,
        "registerNode": true,
    })
}

/// The proxy's.
pub(super) fn proxy(node: &str, kubeconfig: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "hostnameOverride": node,
        // What calls a service from elsewhere, such as the API server, is answered by way of this node.
        "clusterCIDR": PODS,
        "clientConnection": {"kubeconfig": kubeconfig},
        // These limits belong to the whole kernel.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    })
}
