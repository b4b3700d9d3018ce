//! CRI v1 messages about images, containers and the runtime itself; field numbers are the protocol's.

use super::sandboxes::PodSandboxConfig;
use prost::Message;

/// An image by name.
#[derive(Clone, PartialEq, Message)]
pub struct ImageSpec {
    /// The reference.
    #[prost(string, tag = "1")]
    pub image: String,
}

/// A variable of a container's environment.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// Name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A container's name.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerMetadata {
    /// Name, unique in the pod.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// What a container shall be.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerConfig {
    /// Its name.
    #[prost(message, optional, tag = "1")]
    pub metadata: Option<ContainerMetadata>,
    /// Its image.
    #[prost(message, optional, tag = "2")]
    pub image: Option<ImageSpec>,
    /// Its program.
    #[prost(string, repeated, tag = "3")]
    pub command: Vec<String>,
    /// Its arguments.
    #[prost(string, repeated, tag = "4")]
    pub args: Vec<String>,
    /// Its environment.
    #[prost(message, repeated, tag = "6")]
    pub envs: Vec<KeyValue>,
    /// Its log, below the sandbox's log directory.
    #[prost(string, tag = "11")]
    pub log_path: String,
}

/// Make a container.
#[derive(Clone, PartialEq, Message)]
pub struct CreateContainerRequest {
    /// In which sandbox.
    #[prost(string, tag = "1")]
    pub pod_sandbox_id: String,
    /// What it shall be.
    #[prost(message, optional, tag = "2")]
    pub config: Option<ContainerConfig>,
    /// What the sandbox was made from.
    #[prost(message, optional, tag = "3")]
    pub sandbox_config: Option<PodSandboxConfig>,
}

/// An answer or a request that is a container's id alone.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerId {
    /// The id.
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// Run a command in a container and wait.
#[derive(Clone, PartialEq, Message)]
pub struct ExecSyncRequest {
    /// Where.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// What.
    #[prost(string, repeated, tag = "2")]
    pub cmd: Vec<String>,
    /// Seconds; 0 is for ever.
    #[prost(int64, tag = "3")]
    pub timeout: i64,
}

/// What the command did.
#[derive(Clone, PartialEq, Message)]
pub struct ExecSyncResponse {
    /// Its standard output.
    #[prost(bytes = "vec", tag = "1")]
    pub stdout: Vec<u8>,
    /// Its standard error.
    #[prost(bytes = "vec", tag = "2")]
    pub stderr: Vec<u8>,
    /// Its exit code.
    #[prost(int32, tag = "3")]
    pub exit_code: i32,
}

/// Asks whether an image is there.
#[derive(Clone, PartialEq, Message)]
pub struct ImageStatusRequest {
    /// Which.
    #[prost(message, optional, tag = "1")]
    pub image: Option<ImageSpec>,
}

/// An image.
#[derive(Clone, PartialEq, Message)]
pub struct Image {
    /// Its id.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// The image, if it is there.
#[derive(Clone, PartialEq, Message)]
pub struct ImageStatusResponse {
    /// The image.
    #[prost(message, optional, tag = "1")]
    pub image: Option<Image>,
}

/// The runtime's names.
#[derive(Clone, PartialEq, Message)]
pub struct VersionResponse {
    /// Such as `containerd`.
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    /// Such as `1.6.20`.
    #[prost(string, tag = "3")]
    pub runtime_version: String,
}

/// One condition of the runtime.
#[derive(Clone, PartialEq, Message)]
pub struct RuntimeCondition {
    /// `RuntimeReady` or `NetworkReady`.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// Whether it holds.
    #[prost(bool, tag = "2")]
    pub status: bool,
    /// A word.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// A sentence.
    #[prost(string, tag = "4")]
    pub message: String,
}

/// The runtime's conditions.
#[derive(Clone, PartialEq, Message)]
pub struct RuntimeStatus {
    /// All of them.
    #[prost(message, repeated, tag = "1")]
    pub conditions: Vec<RuntimeCondition>,
}

/// How the runtime is.
#[derive(Clone, PartialEq, Message)]
pub struct StatusResponse {
    /// Its conditions.
    #[prost(message, optional, tag = "1")]
    pub status: Option<RuntimeStatus>,
}
