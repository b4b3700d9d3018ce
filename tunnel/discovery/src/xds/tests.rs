#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod knowing;
mod serving;
mod speaking;

use prost::Message;

use super::convert::ResourceType;
use super::proto::authorization::Authorization;
use super::proto::workload::{Address, Service, Workload};
use super::proto::{Any, DeltaDiscoveryResponse, Resource};

fn resource(kind: ResourceType, name: &str, version: &str, message: &impl Message) -> Resource {
    Resource {
        version: version.to_owned().into(),
        name: name.to_owned().into(),
        resource: Some(Any {
            type_url: kind.url().into(),
            value: message.encode_to_vec().into(),
        }),
    }
}

/// A workload named by its uid; the address is its last byte.
fn workload(uid: &str, version: &str, last_byte: u8) -> Resource {
    let workload = Workload {
        uid: uid.to_owned(),
        name: uid.to_owned(),
        namespace: "shop".to_owned(),
        addresses: vec![vec![10, 0, 0, last_byte].into()],
        ..Workload::default()
    };
    let address = Address {
        workload: Some(workload),
        service: None,
    };
    resource(ResourceType::Address, uid, version, &address)
}

fn service(hostname: &str) -> Resource {
    let service = Service {
        namespace: "shop".to_owned(),
        hostname: hostname.to_owned(),
        ..Service::default()
    };
    let address = Address {
        workload: None,
        service: Some(service),
    };
    let name = format!("shop/{hostname}");
    resource(ResourceType::Address, &name, "", &address)
}

fn policy(name: &str, action: i32) -> Resource {
    let policy = Authorization {
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        scope: 1,
        action,
        ..Authorization::default()
    };
    resource(
        ResourceType::Authorization,
        &format!("shop/{name}"),
        "",
        &policy,
    )
}

/// One whose content is no message.
fn spoiled(mut resource: Resource) -> Resource {
    resource.resource.as_mut().unwrap().value = vec![0xff, 0xff].into();
    resource
}

fn response(kind: ResourceType, nonce: &str, resources: Vec<Resource>) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        system_version_info: format!("v-{nonce}"),
        type_url: kind.url().to_owned(),
        nonce: nonce.to_owned(),
        resources,
        removed_resources: Vec::new(),
    }
}

fn removal(kind: ResourceType, nonce: &str, names: &[&str]) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        removed_resources: names.iter().map(ToString::to_string).collect(),
        ..response(kind, nonce, Vec::new())
    }
}
