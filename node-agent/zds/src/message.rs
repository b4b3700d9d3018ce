//! The messages of ZDS (protobuf package `istio.workload.zds`), one to a datagram.

/// The tunnel's first message.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct ZdsHello {
    /// `V1` = 1.
    #[prost(int32, tag = "1")]
    pub version: i32,
}

/// What the agent asks.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct WorkloadRequest {
    #[prost(oneof = "Payload", tags = "1, 2, 3, 5")]
    pub payload: Option<Payload>,
}

/// One request.
#[derive(Clone, PartialEq, Eq, prost::Oneof)]
pub(crate) enum Payload {
    /// A pod; its network namespace comes as a descriptor.
    #[prost(message, tag = "1")]
    Add(AddWorkload),
    /// A pod is gone.
    #[prost(message, tag = "2")]
    Del(DelWorkload),
    /// Everything that exists has been named.
    #[prost(message, tag = "3")]
    SnapshotSent(SnapshotSent),
    /// A pod exists, but the agent has lost its namespace.
    #[prost(message, tag = "5")]
    Keep(KeepWorkload),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct AddWorkload {
    #[prost(string, tag = "1")]
    pub uid: String,
    #[prost(message, optional, tag = "2")]
    pub workload_info: Option<WorkloadInfo>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct WorkloadInfo {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub namespace: String,
    #[prost(string, tag = "3")]
    pub service_account: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct DelWorkload {
    #[prost(string, tag = "2")]
    pub uid: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct KeepWorkload {
    #[prost(string, tag = "1")]
    pub uid: String,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct SnapshotSent {}

/// The answer to every request.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct WorkloadResponse {
    #[prost(message, optional, tag = "1")]
    pub ack: Option<Ack>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct Ack {
    /// Empty when all is well.
    #[prost(string, tag = "1")]
    pub error: String,
}
