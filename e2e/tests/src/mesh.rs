//! What an agent is told about the mesh, as its two files. YAML reads JSON, so JSON it is.

use crate::world::Pod;
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Pods of the node, and workloads, services and policies of the mesh.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    pods: Vec<Value>,
    workloads: Vec<Value>,
    services: Vec<Value>,
    policies: Vec<Value>,
}

/// Whether a pod that runs belongs to the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// It does.
    Inside,
    /// It does not.
    Outside,
}

impl Mesh {
    /// The namespace whose pods are in the mesh.
    pub const NAMESPACE: &'static str = "shop";
    /// A namespace whose pods are not.
    pub const OUTSIDE: &'static str = "plain";

    /// A pod to be enrolled on this node, also known to the mesh.
    #[must_use]
    pub fn pod(self, pod: &Pod) -> Self {
        self.expected(pod).workload(pod, "HBONE", &[])
    }

    /// A pod to be enrolled on this node that the mesh has not heard of: nothing is let into it.
    #[must_use]
    pub fn expected(mut self, pod: &Pod) -> Self {
        self.pods.push(json!({
            "namespace": pod.namespace,
            "name": pod.name,
            "serviceAccount": pod.name,
            "uid": format!("uid-{}", pod.name),
        }));
        self
    }

    /// A pod that runs on this node, and whether it belongs to the mesh.
    #[must_use]
    pub fn running(mut self, pod: &Pod, belongs: Belongs) -> Self {
        let mode = match belongs {
            Belongs::Inside => "ambient",
            Belongs::Outside => "none",
        };
        self.pods.push(json!({
            "namespace": pod.namespace,
            "name": pod.name,
            "serviceAccount": pod.name,
            "uid": format!("uid-{}", pod.name),
            "labels": {"istio.io/dataplane-mode": mode},
            "netns": pod.netns.path(),
            "addresses": pod.ips(),
            "containerId": pod.container(),
        }));
        self
    }

    /// A workload that all know. `services`: host names, whose ports are the pod's own.
    #[must_use]
    pub fn workload(mut self, pod: &Pod, protocol: &str, policies: &[&str]) -> Self {
        self.workloads.push(json!({
            "uid": format!("Kubernetes//Pod/{}/{}", pod.namespace, pod.name),
            "name": pod.name,
            "namespace": pod.namespace,
            "serviceAccount": pod.name,
            "trustDomain": "cluster.local",
            "workloadIps": pod.ips(),
            "protocol": protocol,
            "node": "node",
            "workloadName": pod.name,
            "workloadType": "pod",
            "canonicalName": pod.name,
            "canonicalRevision": "latest",
            "clusterId": "Kubernetes",
            "status": "Healthy",
            "services": {},
            "authorizationPolicies": policies,
        }));
        self
    }

    /// A service in front of workloads that are known already.
    #[must_use]
    pub fn service(
        mut self,
        name: &str,
        vips: &[&str],
        ports: &[(u16, u16)],
        behind: &[&Pod],
    ) -> Self {
        let host = format!("{name}.{}.svc.cluster.local", Self::NAMESPACE);
        let map: Map<String, Value> = ports
            .iter()
            .map(|(service, target)| (service.to_string(), json!(target)))
            .collect();
        for workload in &mut self.workloads {
            if behind
                .iter()
                .any(|pod| workload["name"] == pod.name.as_str())
            {
                workload["services"][format!("{}/{host}", Self::NAMESPACE)] =
                    Value::Object(map.clone());
            }
        }
        self.services.push(json!({
            "name": name,
            "namespace": Self::NAMESPACE,
            "hostname": host,
            "vips": vips.iter().map(|ip| format!("/{ip}")).collect::<Vec<_>>(),
            "ports": map,
        }));
        self
    }

    /// A policy for the pods that are said to have it.
    #[must_use]
    pub fn policy(mut self, name: &str, action: &str, rules: &Value, on: &[&Pod]) -> Self {
        let full = format!("{}/{name}", Self::NAMESPACE);
        for workload in &mut self.workloads {
            if on.iter().any(|pod| workload["name"] == pod.name.as_str())
                && let Some(list) = workload["authorizationPolicies"].as_array_mut()
            {
                list.push(json!(full));
            }
        }
        self.policies.push(json!({
            "name": name,
            "namespace": Self::NAMESPACE,
            "scope": "WorkloadSelector",
            "action": action,
            "rules": rules,
        }));
        self
    }

    /// A policy for a whole namespace, or with the scope `Global` for all.
    #[must_use]
    pub fn wide_policy(mut self, name: &str, namespace: &str, scope: &str, rules: &Value) -> Self {
        self.policies.push(json!({
            "name": name,
            "namespace": namespace,
            "scope": scope,
            "action": "Deny",
            "rules": rules,
        }));
        self
    }

    /// Refuses plaintext to a pod, as istiod's translation of STRICT does.
    #[must_use]
    pub fn strict(self, pod: &Pod) -> Self {
        let nobody = json!([[[{"notPrincipals": [{"presence": {}}]}]]]);
        self.policy(&format!("strict-{}", pod.name), "Deny", &nobody, &[pod])
    }

    /// Writes both files, each in one step as the agent watches.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let namespaces = json!([
            {"name": Self::NAMESPACE, "labels": {"istio.io/dataplane-mode": "ambient"}},
            {"name": Self::OUTSIDE, "labels": {}},
        ]);
        let pods = json!({"namespaces": namespaces, "pods": self.pods});
        replace(&directory.join("pods.yaml"), &pods)?;
        let known = json!({"workloads": self.workloads, "services": self.services, "policies": self.policies});
        replace(&directory.join("mesh.yaml"), &known)
    }
}

fn replace(file: &Path, value: &Value) -> Result<()> {
    let fresh = file.with_extension("fresh");
    std::fs::write(&fresh, serde_json::to_vec_pretty(value)?)?;
    Ok(std::fs::rename(&fresh, file)?)
}
