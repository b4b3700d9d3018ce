//! The few CRI v1 messages about sandboxes that a lab needs, with only the fields it uses; field numbers are the protocol's.

use prost::Message;
use std::collections::HashMap;

/// Names a pod sandbox: who it is for the runtime and, through it, for CNI.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxMetadata {
    /// The pod's name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The pod's uid.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// The pod's namespace.
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// Counts up when a sandbox is made again.
    #[prost(uint32, tag = "4")]
    pub attempt: u32,
}

/// Linux details of a sandbox.
#[derive(Clone, PartialEq, Message)]
pub struct LinuxPodSandboxConfig {
    /// The cgroup below which the pod's are made.
    #[prost(string, tag = "1")]
    pub cgroup_parent: String,
}

/// What a sandbox shall be.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxConfig {
    /// Its names.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<PodSandboxMetadata>,
    /// The pod's host name.
    #[prost(string, tag = "2")]
    pub hostname: String,
    /// Where the containers' logs go.
    #[prost(string, tag = "3")]
    pub log_directory: String,
    /// Labels as Kubernetes sets them.
    #[prost(map = "string, string", tag = "6")]
    pub labels: HashMap<String, String>,
    /// Linux details.
    #[prost(message, optional, tag = "8")]
    pub linux: Option<LinuxPodSandboxConfig>,
}

/// Make a sandbox: this runs CNI ADD.
#[derive(Clone, PartialEq, Message)]
pub struct RunPodSandboxRequest {
    /// What it shall be.
    #[prost(message, optional, tag = "1")]
    pub config: Option<PodSandboxConfig>,
}

/// An answer or a request that is a sandbox's id alone.
#[derive(Clone, PartialEq, Message)]
pub struct SandboxId {
    /// The id.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
}

/// Asks about a sandbox.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxStatusRequest {
    /// Which.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    /// With the runtime's own details.
    #[prost(bool, tag = "2")]
    pub verbose: bool,
}

/// One more address of a pod.
#[derive(Clone, PartialEq, Message)]
pub struct PodIp {
    /// The address.
    #[prost(string, tag = "1")]
    pub ip: String,
}

/// A pod's addresses.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxNetworkStatus {
    /// The first.
    #[prost(string, tag = "1")]
    pub ip: String,
    /// The others.
    #[prost(message, repeated, tag = "2")]
    pub additional_ips: Vec<PodIp>,
}

/// A sandbox as the runtime sees it.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxStatus {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// 0 = ready, 1 = not ready.
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// Its addresses.
    #[prost(message, optional, tag = "5")]
    pub network: Option<PodSandboxNetworkStatus>,
}

/// The answer about a sandbox.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandboxStatusResponse {
    /// What CRI defines.
    #[prost(message, optional, tag = "1")]
    pub status: Option<PodSandboxStatus>,
    /// What the runtime adds.
    #[prost(map = "string, string", tag = "2")]
    pub info: HashMap<String, String>,
}

/// One sandbox of a list.
#[derive(Clone, PartialEq, Message)]
pub struct PodSandbox {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Its names.
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<PodSandboxMetadata>,
    /// 0 = ready, 1 = not ready.
    #[prost(int32, tag = "3")]
    pub state: i32,
}

/// All sandboxes.
#[derive(Clone, PartialEq, Message)]
pub struct ListPodSandboxResponse {
    /// The list.
    #[prost(message, repeated, tag = "1")]
    pub items: Vec<PodSandbox>,
}

/// Nothing to say.
#[derive(Clone, PartialEq, Message)]
pub struct Empty {}
