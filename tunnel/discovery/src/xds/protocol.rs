//! What is said to the control plane, as functions of what is known.

use std::fmt::Write as _;

use prost::Message as _;
use tunnel_control::protobuf::Struct;

use super::convert::ResourceType;
use super::known::{Extent, Known, Rejected, Versions};
use super::proto::{DeltaDiscoveryRequest, Node, Status};

/// Who subscribes, in Istio's terms. The namespace must be that of the token, or istiod refuses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Address of our pod; empty if it is not known.
    pub pod_ip: String,
    /// Name of our pod.
    pub pod_name: String,
    /// Its namespace.
    pub pod_namespace: String,
    /// Its service account.
    pub service_account: String,
    /// The node it runs on.
    pub node: String,
    /// The cluster of the node.
    pub cluster_id: String,
    /// The DNS suffix of the cluster.
    pub cluster_domain: String,
    /// The network of the node's pods.
    pub network: String,
}

/// The release of Istio whose protocol is spoken: istiod adapts what it sends to old ones.
const ISTIO_VERSION: &str = "1.28.0";

/// Stands for an address that is not known, as upstream has it.
const NO_ADDRESS: &str = "1.1.1.1";

impl NodeFacts {
    fn node(&self) -> Node {
        let ip: &str = if self.pod_ip.is_empty() {
            NO_ADDRESS
        } else {
            &self.pod_ip
        };
        let Self {
            pod_name,
            pod_namespace,
            cluster_domain,
            ..
        } = self;
        let metadata: [(&str, &str); 8] = [
            ("NAME", pod_name),
            ("NAMESPACE", pod_namespace),
            ("INSTANCE_IPS", ip),
            ("NODE_NAME", &self.node),
            ("SERVICE_ACCOUNT", &self.service_account),
            ("CLUSTER_ID", &self.cluster_id),
            ("NETWORK", &self.network),
            ("ISTIO_VERSION", ISTIO_VERSION),
        ];
        let given = metadata.into_iter().filter(|(_, value)| !value.is_empty());
        Node {
            id: format!(
                "ztunnel~{ip}~{pod_name}.{pod_namespace}~{pod_namespace}.svc.{cluster_domain}"
            ),
            metadata: Some(Struct::of(given)),
        }
    }
}

/// How a stream begins.
pub(crate) struct Opening {
    /// What is sent first.
    pub(crate) requests: Vec<DeltaDiscoveryRequest>,
    /// What the first response to each of them will say.
    pub(crate) extents: [Extent; ResourceType::ALL.len()],
}

/// Subscribes to everything, and says what is known so that only the rest comes. What would make
/// a request too large for istiod is left unsaid: of that everything comes.
pub(crate) fn open(facts: &NodeFacts, known: &Known) -> Opening {
    let mut extents = [const { Extent::Changes }; ResourceType::ALL.len()];
    let requests = ResourceType::ALL.map(|kind| {
        let mut request = DeltaDiscoveryRequest {
            node: Some(facts.node()),
            type_url: kind.url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        };
        let room = LARGEST_REQUEST.saturating_sub(request.encoded_len());
        let Versions { held, extent } = known.versions(kind, room);
        request.initial_resource_versions = held;
        extents[kind as usize] = extent;
        request
    });
    Opening {
        requests: requests.into(),
        extents,
    }
}

/// Three quarters of what a gRPC server takes unless it is told otherwise.
pub(crate) const LARGEST_REQUEST: usize = 3 << 20;

/// Accepts a response, or says what in it was not taken.
pub(crate) fn answer(
    kind: ResourceType,
    nonce: String,
    rejected: &[Rejected],
) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.url().to_owned(),
        response_nonce: nonce,
        error_detail: (!rejected.is_empty()).then(|| Status {
            code: INVALID_ARGUMENT,
            message: list(rejected),
        }),
        ..DeltaDiscoveryRequest::default()
    }
}

/// Refuses a response of a type that was not asked for.
pub(crate) fn refuse(type_url: String, nonce: String) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url,
        response_nonce: nonce,
        error_detail: Some(Status {
            code: INVALID_ARGUMENT,
            message: "not subscribed to this type".to_owned(),
        }),
        ..DeltaDiscoveryRequest::default()
    }
}

/// gRPC's number for it.
const INVALID_ARGUMENT: i32 = 3;

/// Names and reasons, as many as somebody reads.
pub(crate) fn list(rejected: &[Rejected]) -> String {
    let mut text = String::new();
    for (index, Rejected { name, why }) in rejected.iter().take(LISTED).enumerate() {
        let separator = if index == 0 { "" } else { "; " };
        let name: String = name.chars().take(LONGEST_NAME).collect();
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{name}: {why}");
    }
    if rejected.len() > LISTED {
        let _ = write!(text, "; and {} more", rejected.len() - LISTED);
    }
    text
}

const LISTED: usize = 10;
const LONGEST_NAME: usize = 300;
