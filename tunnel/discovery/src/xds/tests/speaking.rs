use std::collections::BTreeSet;
use std::sync::Arc;

use prost::Message as _;

use super::{ResourceType, response, workload};
use crate::xds::known::{Extent, Known, Rejected};
use crate::xds::protocol::{self, NodeFacts};

use ResourceType::{Address, Authorization};

fn facts() -> NodeFacts {
    NodeFacts {
        pod_name: "agent-x".to_owned(),
        pod_namespace: "istio-system".to_owned(),
        node: "n1".to_owned(),
        cluster_id: "Kubernetes".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        ..NodeFacts::default()
    }
}

#[test]
fn a_node_is_introduced_as_upstream_does() {
    let opening = protocol::open(&facts(), &Known::default());
    let urls = opening
        .requests
        .iter()
        .map(|request| request.type_url.as_str());
    assert_eq!(
        urls.collect::<Vec<_>>(),
        ResourceType::ALL.map(ResourceType::url)
    );
    assert_eq!(opening.extents, [const { Extent::Changes }; 2]);
    for request in &opening.requests {
        let node = request.node.as_ref().unwrap();
        assert_eq!(
            node.id,
            "ztunnel~1.1.1.1~agent-x.istio-system~istio-system.svc.cluster.local"
        );
        let metadata = node.metadata.as_ref().unwrap();
        for (key, value) in [
            ("NAME", "agent-x"),
            ("NAMESPACE", "istio-system"),
            ("INSTANCE_IPS", "1.1.1.1"),
            ("NODE_NAME", "n1"),
            ("CLUSTER_ID", "Kubernetes"),
            ("SERVICE_ACCOUNT", ""),
        ] {
            assert_eq!(metadata.text(key), value, "{key}");
        }
        assert!(!metadata.fields.contains_key("SERVICE_ACCOUNT"));
        assert!(!metadata.text("ISTIO_VERSION").is_empty());
    }
    let known_address = NodeFacts {
        pod_ip: "10.0.0.5".to_owned(),
        ..facts()
    };
    let opening = protocol::open(&known_address, &Known::default());
    let id = &opening.requests[0].node.as_ref().unwrap().id;
    assert!(id.starts_with("ztunnel~10.0.0.5~"), "{id}");
}

#[test]
fn what_is_held_is_told_as_far_as_there_is_room() {
    let mut known = Known::default();
    let few = response(Address, "", vec![workload("a", "7", 1)]);
    known.apply(Address, few, Extent::Changes);
    let opening = protocol::open(&facts(), &known);
    assert_eq!(opening.requests[0].initial_resource_versions["a"], "7");
    assert!(opening.requests[1].initial_resource_versions.is_empty());

    let long = "x".repeat(protocol::LARGEST_REQUEST / 10);
    let many = (0..10).map(|number| workload(&format!("{number}{long}"), "1", 1));
    known.apply(
        Address,
        response(Address, "", many.collect()),
        Extent::Changes,
    );
    let opening = protocol::open(&facts(), &known);
    let told = &opening.requests[0].initial_resource_versions;
    let firsts = told.keys().map(|name| &name[..1]).collect::<BTreeSet<_>>();
    let expected = ["0", "1", "2", "3", "4", "5", "6", "7", "8"];
    assert_eq!(firsts, BTreeSet::from(expected), "the first of them");
    let last: Arc<str> = format!("8{long}").into();
    assert_eq!(opening.extents, [Extent::AllAfter(last), Extent::Changes]);
    assert!(opening.requests[0].encoded_len() <= protocol::LARGEST_REQUEST);
}

#[test]
fn an_answer_accepts_or_says_what_was_rejected() {
    let accepted = protocol::answer(Address, "n".to_owned(), &[]);
    assert_eq!(
        (accepted.type_url.as_str(), accepted.response_nonce.as_str()),
        (Address.url(), "n")
    );
    assert_eq!(accepted.error_detail, None);
    assert_eq!(accepted.node, None);

    let rejected: Vec<_> = (0..12)
        .map(|number| Rejected {
            name: format!("r{number}"),
            why: "no".to_owned(),
        })
        .collect();
    let refused = protocol::answer(Authorization, "n".to_owned(), &rejected);
    let message = refused.error_detail.unwrap().message;
    assert!(message.starts_with("r0: no; r1: no;"), "{message}");
    assert!(message.ends_with("r9: no; and 2 more"), "{message}");
}
