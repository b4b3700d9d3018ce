//! What scenarios put onto a cluster: namespaces, pods with accounts of their own, services.

use crate::images::WORKLOAD;
use serde_json::{Value, json};

/// The label that takes a namespace or a pod into the mesh.
pub const MODE: &str = "istio.io/dataplane-mode";

/// A namespace; whether its pods are in the mesh.
#[must_use]
pub fn namespace(name: &str, ambient: bool) -> Value {
    let labels = if ambient {
        json!({MODE: "ambient"})
    } else {
        json!({})
    };
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// A service account.
#[must_use]
pub fn account(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"namespace": namespace, "name": name},
    })
}

/// A pod on a node, under the account of its own name, that runs `podkit` with these arguments; without any it waits for
/// calls to be made from it.
#[must_use]
pub fn pod(namespace: &str, name: &str, node: &str, arguments: &[&str]) -> Value {
    let mut container = json!({"name": "main", "image": WORKLOAD, "imagePullPolicy": "Never"});
    if !arguments.is_empty() {
        container["args"] = json!(arguments);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
        "spec": {
            "serviceAccountName": name,
            "nodeSelector": {"kubernetes.io/hostname": node},
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    })
}

/// A service for the pods of the same name: ports and where they lead.
#[must_use]
pub fn service(namespace: &str, name: &str, ports: &[(u16, u16)]) -> Value {
    let ports: Vec<Value> = ports
        .iter()
        .map(|(port, target)| json!({"name": format!("tcp-{port}"), "port": port, "targetPort": target}))
        .collect();
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"selector": {"app": name}, "ports": ports},
    })
}

/// Several of them as one text for [`crate::Cluster::apply`].
#[must_use]
pub fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}
