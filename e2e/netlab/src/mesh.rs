//! What agents are told about the mesh: their two files, as data.

use crate::agent::DevelopmentCa;
use crate::pod::Pod;
use crate::podspec::PodSpec;
use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Namespaces, pods, workloads, services and policies, gathered piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    namespaces: Vec<Value>,
    pods: Vec<Value>,
    /// Pods that run, with the node that each is on: its namespace's path means nothing elsewhere.
    running: Vec<(String, Value)>,
    workloads: Vec<Value>,
    services: Vec<Value>,
    policies: Vec<Value>,
}

/// A port of a service.
#[derive(Clone, Copy, Debug)]
pub struct ServicePort {
    /// As callers see it.
    pub service: u16,
    /// As the pods serve it.
    pub target: u16,
}

impl Mesh {
    /// A namespace whose pods belong to the mesh, or do not.
    pub fn namespace(&mut self, name: &str, ambient: bool) {
        let labels = if ambient {
            json!({"istio.io/dataplane-mode": "ambient"})
        } else {
            json!({})
        };
        self.namespaces
            .push(json!({"name": name, "labels": labels}));
    }

    /// A pod that is about to be made, with its service account.
    pub fn pod(&mut self, spec: &PodSpec, service_account: &str) {
        self.pods.push(json!({
            "namespace": spec.namespace,
            "name": spec.name,
            "serviceAccount": service_account,
            "uid": spec.uid(),
            "labels": {},
        }));
    }

    /// A pod that runs already, to be taken into the mesh, or out of it, where it is. Said again, the last word counts.
    pub fn running(&mut self, pod: &Pod, service_account: &str, membership: Membership) {
        let spec = pod.spec();
        let same = |known: &Value| known["uid"] == spec.uid().as_str();
        self.pods.retain(|known| !same(known));
        self.running.retain(|(_, known)| !same(known));
        let mode = match membership {
            Membership::In => "ambient",
            Membership::Out => "none",
        };
        let told = json!({
            "namespace": spec.namespace,
            "name": spec.name,
            "serviceAccount": service_account,
            "uid": spec.uid(),
            "labels": {"istio.io/dataplane-mode": mode},
            "netns": pod.netns(),
            "addresses": pod.ips(),
            "containerId": pod.sandbox(),
        });
        self.running.push((pod.node().to_owned(), told));
    }

    /// A pod that runs, as every other node shall see it. `protocol`: HBONE in the mesh, TCP outside;
    /// `services`: host name to ports. Said again, the last word counts.
    pub fn workload(
        &mut self,
        pod: &Pod,
        service_account: &str,
        protocol: &str,
        services: &[(&str, &[ServicePort])],
    ) {
        let spec = pod.spec();
        let ports = |ports: &[ServicePort]| {
            let pairs = ports
                .iter()
                .map(|port| (port.service.to_string(), json!(port.target)));
            Value::Object(pairs.collect::<Map<_, _>>())
        };
        let services: Map<String, Value> = services
            .iter()
            .map(|(host, list)| (format!("{}/{host}", spec.namespace), ports(list)))
            .collect();
        let uid = format!("Kubernetes//Pod/{}/{}", spec.namespace, spec.name);
        self.workloads.retain(|known| known["uid"] != uid.as_str());
        self.workloads.push(json!({
            "uid": uid,
            "name": spec.name,
            "namespace": spec.namespace,
            "serviceAccount": service_account,
            "trustDomain": "cluster.local",
            "workloadIps": pod.ips(),
            "protocol": protocol,
            "node": pod.node(),
            "workloadName": spec.name,
            "workloadType": "pod",
            "canonicalName": spec.name,
            "canonicalRevision": "latest",
            "clusterId": "Kubernetes",
            "status": "Healthy",
            "services": services,
        }));
    }

    /// A service with its virtual addresses.
    pub fn service(&mut self, namespace: &str, name: &str, vips: &[IpAddr], ports: &[ServicePort]) {
        let map = ports
            .iter()
            .map(|port| (port.service.to_string(), json!(port.target)));
        self.services.push(json!({
            "name": name,
            "namespace": namespace,
            "hostname": host(namespace, name),
            "vips": vips.iter().map(|ip| format!("/{ip}")).collect::<Vec<_>>(),
            "ports": map.collect::<Map<_, _>>(),
        }));
    }

    /// A policy in a workload namespace: `rules` as three nested lists of matches.
    pub fn policy(&mut self, namespace: &str, name: &str, action: &str, rules: &Value) {
        self.policies.push(json!({
            "name": name,
            "namespace": namespace,
            "scope": "Namespace",
            "action": action,
            "rules": rules,
        }));
    }

    /// Any further workload, service or policy in the files' own words.
    pub fn raw(&mut self, section: Section, value: Value) {
        match section {
            Section::Workloads => self.workloads.push(value),
            Section::Services => self.services.push(value),
            Section::Policies => self.policies.push(value),
        }
    }

    /// The addresses of all workloads.
    #[must_use]
    pub fn workload_ips(&self) -> Vec<IpAddr> {
        let lists = self
            .workloads
            .iter()
            .filter_map(|workload| workload["workloadIps"].as_array());
        lists
            .flatten()
            .filter_map(|ip| ip.as_str()?.parse().ok())
            .collect()
    }

    /// Writes both files of a node, each in one step as the agent watches. YAML reads JSON, so JSON it is.
    pub(crate) fn write(&self, node: &str, pods: &Path, mesh: &Path) -> Result<()> {
        let running = self.running.iter().filter(|(on, _)| on == node);
        let told: Vec<&Value> = self
            .pods
            .iter()
            .chain(running.map(|(_, told)| told))
            .collect();
        replace(pods, &json!({"namespaces": self.namespaces, "pods": told}))?;
        let known = json!({"workloads": self.workloads, "services": self.services, "policies": self.policies});
        replace(mesh, &known)
    }
}

/// Whether a pod that runs shall be in the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    /// It shall.
    In,
    /// It shall not.
    Out,
}

/// A list of the mesh file.
#[derive(Clone, Copy, Debug)]
pub enum Section {
    /// `workloads`
    Workloads,
    /// `services`
    Services,
    /// `policies`
    Policies,
}

/// A service's full name.
#[must_use]
pub fn host(namespace: &str, name: &str) -> String {
    format!("{name}.{namespace}.svc.cluster.local")
}

fn replace(file: &Path, value: &Value) -> Result<()> {
    let fresh = file.with_extension("fresh");
    std::fs::write(&fresh, serde_json::to_vec_pretty(value)?)?;
    std::fs::rename(&fresh, file).with_context(|| format!("writing {}", file.display()))
}

/// Makes the certificate authority that all nodes of a lab share.
pub(crate) fn make_ca(directory: &Path) -> Result<DevelopmentCa> {
    let ca = DevelopmentCa {
        certificate: directory.join("ca.pem"),
        key: directory.join("ca.key"),
    };
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "lab");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    std::fs::write(&ca.certificate, params.self_signed(&key)?.pem())?;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&ca.key);
    file?.write_all(key.serialize_pem().as_bytes())?;
    Ok(ca)
}
