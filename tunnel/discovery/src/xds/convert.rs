//! From the messages of the protocol to the tunnel's own types. Each resource is taken whole or
//! rejected with the first reason: what a malformed one meant is not guessed.

mod parts;
mod policy;
mod service;
mod workload;

use std::sync::Arc;

use prost::Message as _;
use tunnel_model::{Interner, Policy, Service, Workload};

use super::proto::Any;
use super::proto::authorization::Authorization;
use super::proto::workload::Address;

pub(crate) use policy::PolicyFault;

/// The types of resources that are subscribed to, in the order in which istiod pushes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceType {
    /// Workloads and services.
    Address,
    /// Policies.
    Authorization,
}

impl ResourceType {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Address, Self::Authorization];

    /// The name of the type in the protocol.
    #[must_use]
    pub const fn url(self) -> &'static str {
        match self {
            Self::Address => "type.googleapis.com/istio.workload.Address",
            Self::Authorization => "type.googleapis.com/istio.security.Authorization",
        }
    }

    /// The type of this name.
    pub(crate) fn of_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.url() == url)
    }
}

/// What an address resource is.
#[derive(Debug, Clone)]
pub(crate) enum AddressResource {
    Workload(Arc<Workload>),
    Service(Arc<Service>),
}

/// Reads a workload or a service.
pub(crate) fn address(any: &Any, interner: &mut Interner) -> Result<AddressResource, String> {
    let content = content(any, ResourceType::Address)?;
    let address = Address::decode(content).map_err(|why| undecodable(&why))?;
    match (address.workload, address.service) {
        (Some(workload), None) => {
            workload::read(workload, interner).map(|read| AddressResource::Workload(read.into()))
        }
        (None, Some(service)) => {
            service::read(&service, interner).map(|read| AddressResource::Service(read.into()))
        }
        (None, None) => Err("it is neither a workload nor a service".to_owned()),
        (Some(_), Some(_)) => Err("it is both a workload and a service".to_owned()),
    }
}

/// Reads a policy.
pub(crate) fn policy(any: &Any, interner: &mut Interner) -> Result<Policy, PolicyFault> {
    let content = content(any, ResourceType::Authorization).map_err(PolicyFault::Unknown)?;
    let message =
        Authorization::decode(content).map_err(|why| PolicyFault::Unknown(undecodable(&why)))?;
    policy::read(&message, interner)
}

fn content(any: &Any, wanted: ResourceType) -> Result<prost::bytes::Bytes, String> {
    if any.type_url == wanted.url().as_bytes() {
        Ok(any.value.clone())
    } else {
        let other = String::from_utf8_lossy(&any.type_url);
        Err(format!("its type is {other:?}"))
    }
}

fn undecodable(why: &prost::DecodeError) -> String {
    format!("it cannot be decoded: {why}")
}

#[cfg(test)]
mod tests;
