//! Field numbers are those of Istio's `workload.proto`.

use std::collections::HashMap;

use prost::Message;
use prost::bytes::Bytes;

/// A workload or a service; of the two the one that is there.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Address {
    #[prost(message, optional, tag = "1")]
    pub(crate) workload: Option<Workload>,
    #[prost(message, optional, tag = "2")]
    pub(crate) service: Option<Service>,
}

#[expect(clippy::struct_field_names, reason = "the names of the wire format")]
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Workload {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub(crate) addresses: Vec<Bytes>,
    #[prost(string, tag = "4")]
    pub(crate) network: String,
    #[prost(int32, tag = "5")]
    pub(crate) tunnel_protocol: i32,
    #[prost(string, tag = "6")]
    pub(crate) trust_domain: String,
    #[prost(string, tag = "7")]
    pub(crate) service_account: String,
    #[prost(message, optional, tag = "8")]
    pub(crate) waypoint: Option<GatewayAddress>,
    #[prost(string, tag = "9")]
    pub(crate) node: String,
    #[prost(string, tag = "10")]
    pub(crate) canonical_name: String,
    #[prost(string, tag = "11")]
    pub(crate) canonical_revision: String,
    #[prost(int32, tag = "12")]
    pub(crate) workload_type: i32,
    #[prost(string, tag = "13")]
    pub(crate) workload_name: String,
    #[prost(bool, tag = "14")]
    pub(crate) native_tunnel: bool,
    #[prost(string, repeated, tag = "16")]
    pub(crate) authorization_policies: Vec<String>,
    #[prost(int32, tag = "17")]
    pub(crate) status: i32,
    #[prost(string, tag = "18")]
    pub(crate) cluster_id: String,
    #[prost(message, optional, tag = "19")]
    pub(crate) network_gateway: Option<GatewayAddress>,
    #[prost(string, tag = "20")]
    pub(crate) uid: String,
    #[prost(string, tag = "21")]
    pub(crate) hostname: String,
    #[prost(map = "string, message", tag = "22")]
    pub(crate) services: HashMap<String, PortList>,
    #[prost(message, optional, tag = "23")]
    pub(crate) application_tunnel: Option<ApplicationTunnel>,
    #[prost(message, optional, tag = "24")]
    pub(crate) locality: Option<Locality>,
    #[prost(int32, tag = "25")]
    pub(crate) network_mode: i32,
    #[prost(message, optional, tag = "27")]
    pub(crate) capacity: Option<UInt32Value>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct UInt32Value {
    #[prost(uint32, tag = "1")]
    pub(crate) value: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Locality {
    #[prost(string, tag = "1")]
    pub(crate) region: String,
    #[prost(string, tag = "2")]
    pub(crate) zone: String,
    #[prost(string, tag = "3")]
    pub(crate) subzone: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct ApplicationTunnel {
    #[prost(int32, tag = "1")]
    pub(crate) protocol: i32,
    #[prost(uint32, tag = "2")]
    pub(crate) port: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct PortList {
    #[prost(message, repeated, tag = "1")]
    pub(crate) ports: Vec<Port>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Port {
    #[prost(uint32, tag = "1")]
    pub(crate) service_port: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) target_port: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Service {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) namespace: String,
    #[prost(string, tag = "3")]
    pub(crate) hostname: String,
    #[prost(message, repeated, tag = "4")]
    pub(crate) addresses: Vec<NetworkAddress>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) ports: Vec<Port>,
    #[prost(string, repeated, tag = "6")]
    pub(crate) subject_alt_names: Vec<String>,
    #[prost(message, optional, tag = "7")]
    pub(crate) waypoint: Option<GatewayAddress>,
    #[prost(message, optional, tag = "8")]
    pub(crate) load_balancing: Option<LoadBalancing>,
    #[prost(int32, tag = "9")]
    pub(crate) ip_families: i32,
    #[prost(bool, tag = "11")]
    pub(crate) canonical: bool,
    #[prost(message, repeated, tag = "13")]
    pub(crate) weighted_waypoints: Vec<WeightedWaypoint>,
    #[prost(int32, tag = "14")]
    pub(crate) visibility: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct WeightedWaypoint {
    #[prost(message, optional, tag = "1")]
    pub(crate) destination: Option<GatewayAddress>,
    #[prost(uint32, tag = "2")]
    pub(crate) weight: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct LoadBalancing {
    #[prost(int32, repeated, tag = "1")]
    pub(crate) routing_preference: Vec<i32>,
    #[prost(int32, tag = "2")]
    pub(crate) mode: i32,
    #[prost(int32, tag = "3")]
    pub(crate) health_policy: i32,
}

/// By name or by address; of the two the one that is there.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GatewayAddress {
    #[prost(message, optional, tag = "1")]
    pub(crate) hostname: Option<NamespacedHostname>,
    #[prost(message, optional, tag = "2")]
    pub(crate) address: Option<NetworkAddress>,
    #[prost(uint32, tag = "3")]
    pub(crate) hbone_mtls_port: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct NetworkAddress {
    #[prost(string, tag = "1")]
    pub(crate) network: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) address: Bytes,
    #[prost(uint32, optional, tag = "3")]
    pub(crate) length: Option<u32>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct NamespacedHostname {
    #[prost(string, tag = "1")]
    pub(crate) namespace: String,
    #[prost(string, tag = "2")]
    pub(crate) hostname: String,
}
