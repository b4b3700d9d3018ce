//! The parts of Kubernetes' objects that are read, and the facts they become. Whatever else an object
//! has is dropped while it is read.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::core::{ApiResource, ObjectMeta, PartialObjectMeta};
use kube::{Api, Client};
use node_agent_enrollment::{NamespaceFacts, PodFacts, PodPhase};
use serde::Deserialize;

/// A pod.
pub(crate) type PodObject = kube::core::Object<PodSpec, PodStatus>;
/// A namespace, of which the API server sends no more than this.
pub(crate) type NamespaceObject = PartialObjectMeta<Namespace>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodSpec {
    service_account_name: Option<String>,
    host_network: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<PodIp>>,
    init_container_statuses: Option<Vec<ContainerStatus>>,
    container_statuses: Option<Vec<ContainerStatus>>,
    ephemeral_container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PodIp {
    ip: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

/// All pods.
pub(crate) fn all_pods(client: Client) -> Api<PodObject> {
    Api::all_with(client, &pods())
}

/// The pods of a namespace.
pub(crate) fn pods_of(client: Client, namespace: &str) -> Api<PodObject> {
    Api::namespaced_with(client, namespace, &pods())
}

/// All namespaces.
pub(crate) fn all_namespaces(client: Client) -> Api<NamespaceObject> {
    Api::all(client)
}

fn pods() -> ApiResource {
    ApiResource::erase::<Pod>(&())
}

/// What is used of a pod.
pub(crate) fn pod_facts(object: PodObject) -> PodFacts {
    let PodObject {
        metadata,
        spec,
        status,
        ..
    } = object;
    let ObjectMeta {
        name,
        namespace,
        uid,
        labels,
        annotations,
        ..
    } = metadata;
    let status = status.unwrap_or_default();
    PodFacts {
        namespace: namespace.unwrap_or_default(),
        name: name.unwrap_or_default(),
        uid: uid.unwrap_or_default(),
        service_account: spec.service_account_name.filter(|name| !name.is_empty()),
        labels: labels.unwrap_or_default(),
        annotations: annotations.unwrap_or_default(),
        host_network: spec.host_network.unwrap_or_default(),
        addresses: status.addresses(),
        phase: match status.phase.as_deref() {
            Some("Succeeded" | "Failed") => PodPhase::Ended,
            _ => PodPhase::Alive,
        },
        containers: status.containers(),
    }
}

/// What is used of a namespace.
pub(crate) fn namespace_facts(object: NamespaceObject) -> NamespaceFacts {
    NamespaceFacts {
        name: object.metadata.name.unwrap_or_default(),
        labels: object.metadata.labels.unwrap_or_default(),
    }
}

impl PodStatus {
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let all = self.pod_ips.iter().flatten().map(|one| &one.ip);
        let mut addresses: Vec<IpAddr> = all
            .chain(&self.pod_ip)
            .filter_map(|text| text.parse().ok())
            .collect();
        // The first is told twice.
        let mut seen = std::collections::BTreeSet::new();
        addresses.retain(|address| seen.insert(*address));
        addresses
    }

    /// Ids without the runtime's name, which the API server puts before them.
    fn containers(&self) -> Vec<String> {
        let kinds = [
            &self.init_container_statuses,
            &self.container_statuses,
            &self.ephemeral_container_statuses,
        ];
        let all = kinds.into_iter().flatten().flatten();
        let ids = all.filter_map(|status| status.container_id.as_deref());
        ids.map(|id| id.rsplit("//").next().unwrap_or(id).to_owned())
            .filter(|id| !id.is_empty())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_used_of_a_pod_is_read() {
        let document = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "a", "namespace": "n", "uid": "u", "labels": {"l": "1"},
                "annotations": {"x": "y"}, "resourceVersion": "7",
                "managedFields": [{"manager": "m", "fieldsV1": {"f:a": {}}}],
            },
            "spec": {"serviceAccountName": "sa", "hostNetwork": true, "containers": [{"name": "c"}]},
            "status": {
                "phase": "Failed", "podIP": "10.0.0.1",
                "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
                "containerStatuses": [{"containerID": "containerd://c1", "name": "c"}, {"name": "d"}],
                "initContainerStatuses": [{"containerID": "cri-o://c2"}, {"containerID": ""}],
            },
        });
        let facts = pod_facts(serde_json::from_value(document).unwrap());
        let expected = PodFacts {
            namespace: "n".into(),
            name: "a".into(),
            uid: "u".into(),
            service_account: Some("sa".into()),
            labels: [("l".into(), "1".into())].into(),
            annotations: [("x".into(), "y".into())].into(),
            host_network: true,
            addresses: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            phase: PodPhase::Ended,
            containers: vec!["c2".into(), "c1".into()],
        };
        assert_eq!(facts, expected);
    }

    #[test]
    fn what_is_not_there_is_not_missed() {
        let document = json!({"metadata": {"name": "a", "namespace": "n", "uid": "u"}, "spec": {},
                              "status": {"podIP": "", "podIPs": null, "phase": "Pending"}});
        let facts = pod_facts(serde_json::from_value(document).unwrap());
        assert_eq!(facts.phase, PodPhase::Alive);
        assert_eq!(facts.service_account, None);
        assert!(facts.addresses.is_empty() && facts.containers.is_empty());
        let bare = json!({"metadata": {"name": "a"}, "spec": {}});
        assert_eq!(pod_facts(serde_json::from_value(bare).unwrap()).name, "a");
        let namespace = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                               "metadata": {"name": "n", "labels": {"a": "b"}}});
        let facts = namespace_facts(serde_json::from_value(namespace).unwrap());
        assert_eq!((facts.name.as_str(), facts.labels.len()), ("n", 1));
    }
}
