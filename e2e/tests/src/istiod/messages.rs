//! The messages, written down a second time: the agent's own are not asked.

use crate::world::Pod;
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use tunnel_control::protobuf::Struct;

const URLS: [&str; 2] = [
    "type.googleapis.com/istio.workload.Address",
    "type.googleapis.com/istio.security.Authorization",
];

#[derive(Clone, PartialEq, Message)]
pub(super) struct CertificateRequest {
    #[prost(string, tag = "1")]
    pub(super) csr: String,
    #[prost(message, optional, tag = "4")]
    pub(super) metadata: Option<Struct>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct CertificateResponse {
    #[prost(string, repeated, tag = "1")]
    pub(super) cert_chain: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Request {
    #[prost(string, tag = "2")]
    type_url: String,
    #[prost(map = "string, string", tag = "5")]
    pub(super) initial_resource_versions: HashMap<String, String>,
    #[prost(message, optional, tag = "7")]
    pub(super) error_detail: Option<Detail>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Detail {
    #[prost(string, tag = "2")]
    pub(super) message: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Response {
    #[prost(message, repeated, tag = "2")]
    pub(super) resources: Vec<Resource>,
    #[prost(string, tag = "4")]
    pub(super) type_url: String,
    #[prost(string, tag = "5")]
    pub(super) nonce: String,
    #[prost(string, repeated, tag = "6")]
    pub(super) removed: Vec<String>,
}

#[expect(clippy::struct_field_names, reason = "the names of the wire format")]
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(message, optional, tag = "2")]
    resource: Option<Any>,
    #[prost(string, tag = "3")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

impl Request {
    /// Which type it is about.
    pub(super) fn kind(&self) -> Option<usize> {
        URLS.iter().position(|url| *url == self.type_url)
    }
}

impl Resource {
    pub(super) fn of(kind: usize, name: String, version: &str, value: Vec<u8>) -> Self {
        let type_url = URLS[kind].to_owned();
        Self {
            version: version.to_owned(),
            resource: Some(Any { type_url, value }),
            name,
        }
    }
}

impl Response {
    /// What leads from one state of a type to another; nothing if they are the same. The first is always told.
    pub(super) fn between(
        kind: usize,
        before: Option<&BTreeMap<String, Vec<u8>>>,
        now: &BTreeMap<String, Vec<u8>>,
    ) -> Option<Self> {
        let known = |name: &String| before.and_then(|before| before.get(name));
        let changed = now
            .iter()
            .filter(|(name, value)| known(name) != Some(value));
        let resources: Vec<Resource> = changed
            .map(|(name, value)| Resource::of(kind, name.clone(), "", value.clone()))
            .collect();
        let gone = before.into_iter().flatten().map(|(name, _)| name);
        let removed: Vec<String> = gone
            .filter(|name| !now.contains_key(*name))
            .cloned()
            .collect();
        let silent = before.is_some() && resources.is_empty() && removed.is_empty();
        (!silent).then(|| Self {
            resources,
            type_url: URLS[kind].to_owned(),
            nonce: "n".to_owned(),
            removed,
        })
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Address {
    #[prost(message, optional, tag = "1")]
    pub(super) workload: Option<Workload>,
    #[prost(message, optional, tag = "2")]
    pub(super) service: Option<Service>,
}

#[expect(clippy::struct_field_names, reason = "the names of the wire format")]
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Workload {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) namespace: String,
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub(super) addresses: Vec<Vec<u8>>,
    #[prost(int32, tag = "5")]
    pub(super) tunnel_protocol: i32,
    #[prost(string, tag = "6")]
    pub(super) trust_domain: String,
    #[prost(string, tag = "7")]
    pub(super) service_account: String,
    #[prost(string, tag = "9")]
    pub(super) node: String,
    #[prost(string, tag = "10")]
    pub(super) canonical_name: String,
    #[prost(string, tag = "11")]
    pub(super) canonical_revision: String,
    #[prost(string, tag = "13")]
    pub(super) workload_name: String,
    #[prost(string, repeated, tag = "16")]
    pub(super) authorization_policies: Vec<String>,
    #[prost(string, tag = "18")]
    pub(super) cluster_id: String,
    #[prost(string, tag = "20")]
    pub(super) uid: String,
    #[prost(btree_map = "string, message", tag = "22")]
    pub(super) services: BTreeMap<String, Ports>,
    #[prost(message, optional, tag = "24")]
    pub(super) locality: Option<Locality>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Locality {
    #[prost(string, tag = "1")]
    pub(super) region: String,
    #[prost(string, tag = "2")]
    pub(super) zone: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Ports {
    #[prost(message, repeated, tag = "1")]
    pub(super) ports: Vec<Port>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Port {
    #[prost(uint32, tag = "1")]
    pub(super) service_port: u32,
    #[prost(uint32, tag = "2")]
    pub(super) target_port: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Service {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) namespace: String,
    #[prost(string, tag = "3")]
    pub(super) hostname: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) addresses: Vec<NetworkAddress>,
    #[prost(message, repeated, tag = "5")]
    pub(super) ports: Vec<Port>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct NetworkAddress {
    #[prost(bytes = "vec", tag = "2")]
    pub(super) address: Vec<u8>,
}

/// The name and the content of a pod's resource.
pub(super) fn workload(pod: &Pod, policies: &[&str]) -> (String, Vec<u8>) {
    let uid = format!("Kubernetes//Pod/{}/{}", pod.namespace, pod.name);
    let workload = Workload {
        name: pod.name.clone(),
        namespace: pod.namespace.clone(),
        addresses: vec![pod.ipv4.octets().into(), pod.ipv6.octets().into()],
        tunnel_protocol: 1,
        service_account: pod.name.clone(),
        node: "node".to_owned(),
        authorization_policies: policies
            .iter()
            .map(|name| format!("{}/{name}", pod.namespace))
            .collect(),
        uid: uid.clone(),
        ..Workload::default()
    };
    let address = Address {
        workload: Some(workload),
        service: None,
    };
    (uid, address.encode_to_vec())
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Authorization {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(int32, tag = "3")]
    scope: i32,
    #[prost(int32, tag = "4")]
    action: i32,
    #[prost(message, repeated, tag = "5")]
    rules: Vec<Rule>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Rule {
    #[prost(message, repeated, tag = "1")]
    clauses: Vec<Clause>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Clause {
    #[prost(message, repeated, tag = "2")]
    matches: Vec<Match>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Match {
    #[prost(message, repeated, tag = "4")]
    not_principals: Vec<Text>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct Text {
    #[prost(message, optional, tag = "4")]
    presence: Option<Empty>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Empty {}

/// Refuses whoever shows no identity, as istiod's translation of STRICT does.
pub(super) fn strict(name: &str) -> (String, Vec<u8>) {
    deny(name, nobody())
}

fn nobody() -> Vec<Clause> {
    let present = Text {
        presence: Some(Empty {}),
    };
    let nobody = Match {
        not_principals: vec![present],
    };
    vec![Clause {
        matches: vec![nobody],
    }]
}

/// Refuses everybody.
pub(super) fn closed(name: &str) -> (String, Vec<u8>) {
    deny(name, Vec::new())
}

/// Refuses whoever shows no identity, to the pods of a whole namespace.
pub(super) fn strict_namespace(namespace: &str) -> (String, Vec<u8>) {
    const NAMESPACE: i32 = 1;
    denial(namespace, "strict", NAMESPACE, nobody())
}

fn deny(name: &str, clauses: Vec<Clause>) -> (String, Vec<u8>) {
    const SELECTED: i32 = 2;
    denial(crate::mesh::Mesh::NAMESPACE, name, SELECTED, clauses)
}

fn denial(namespace: &str, name: &str, scope: i32, clauses: Vec<Clause>) -> (String, Vec<u8>) {
    const DENY: i32 = 1;
    let policy = Authorization {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        scope,
        action: DENY,
        rules: vec![Rule { clauses }],
    };
    (format!("{namespace}/{name}"), policy.encode_to_vec())
}
