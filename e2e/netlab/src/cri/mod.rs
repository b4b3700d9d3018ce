//! A blocking client for the container runtime interface, version 1.

mod containers;
mod sandboxes;
mod transport;

pub use containers::*;
use prost::Message;
pub use sandboxes::*;
use std::path::Path;
use std::time::Duration;
use transport::Transport;

const PATIENCE: Duration = Duration::from_secs(60);

/// Why a call has no answer.
#[derive(Debug)]
pub enum CriError {
    /// The runtime's socket does not answer.
    Connect(std::io::Error),
    /// The connection broke or was misused.
    Http2(h2::Error),
    /// The runtime refused, in its own words.
    Refused {
        /// The gRPC code.
        code: u32,
        /// The message.
        message: String,
    },
    /// The answer is not gRPC as we know it.
    Protocol(&'static str),
    /// The answer's message cannot be read.
    Decode(prost::DecodeError),
    /// No answer in time.
    Timeout(Duration),
    /// The client's own thread has ended.
    Gone,
}

impl std::fmt::Display for CriError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(error) => write!(out, "the runtime's socket: {error}"),
            Self::Http2(error) => write!(out, "the connection to the runtime: {error}"),
            Self::Refused { code, message } => {
                write!(out, "the runtime refused (code {code}): {message}")
            }
            Self::Protocol(what) => write!(out, "the runtime's answer: {what}"),
            Self::Decode(error) => write!(out, "the runtime's answer: {error}"),
            Self::Timeout(patience) => {
                write!(out, "the runtime did not answer within {patience:?}")
            }
            Self::Gone => write!(out, "the CRI client has ended"),
        }
    }
}

impl std::error::Error for CriError {}

impl From<h2::Error> for CriError {
    fn from(error: h2::Error) -> Self {
        Self::Http2(error)
    }
}

/// The client; clones share one connection.
#[derive(Clone, Debug)]
pub struct Cri(Transport);

/// A CRI answer.
pub type Answer<T> = Result<T, CriError>;

impl Cri {
    /// A client for a runtime's socket; connects with the first call.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(socket: &Path) -> std::io::Result<Self> {
        Ok(Self(Transport::new(socket)?))
    }

    fn call<T: Message + Default>(&self, path: &'static str, request: &impl Message) -> Answer<T> {
        self.call_within(path, request, PATIENCE)
    }

    fn call_within<T: Message + Default>(
        &self,
        path: &'static str,
        request: &impl Message,
        patience: Duration,
    ) -> Answer<T> {
        let answer = self.0.call(path, request.encode_to_vec(), patience)?;
        T::decode(answer).map_err(CriError::Decode)
    }

    /// Who the runtime is.
    ///
    /// # Errors
    /// No answer.
    pub fn version(&self) -> Answer<VersionResponse> {
        self.call("/runtime.v1.RuntimeService/Version", &Empty {})
    }

    /// How the runtime is; holds the network's readiness.
    ///
    /// # Errors
    /// No answer.
    pub fn status(&self) -> Answer<StatusResponse> {
        self.call("/runtime.v1.RuntimeService/Status", &Empty {})
    }

    /// Makes a sandbox (CNI ADD happens in here) and gives its id.
    ///
    /// # Errors
    /// The runtime refuses, for one because CNI failed.
    pub fn run_pod_sandbox(&self, config: &PodSandboxConfig) -> Answer<String> {
        let request = RunPodSandboxRequest {
            config: Some(config.clone()),
        };
        let answer: SandboxId = self.call("/runtime.v1.RuntimeService/RunPodSandbox", &request)?;
        Ok(answer.pod_sandbox_id)
    }

    /// Stops a sandbox: ends its containers, then CNI DEL.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn stop_pod_sandbox(&self, id: &str) -> Answer<()> {
        let request = SandboxId {
            pod_sandbox_id: id.to_owned(),
        };
        self.call::<Empty>("/runtime.v1.RuntimeService/StopPodSandbox", &request)
            .map(|_| ())
    }

    /// Forgets a sandbox.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn remove_pod_sandbox(&self, id: &str) -> Answer<()> {
        let request = SandboxId {
            pod_sandbox_id: id.to_owned(),
        };
        self.call::<Empty>("/runtime.v1.RuntimeService/RemovePodSandbox", &request)
            .map(|_| ())
    }

    /// A sandbox's state, addresses and the runtime's details.
    ///
    /// # Errors
    /// The runtime does not know it.
    pub fn pod_sandbox_status(&self, id: &str) -> Answer<PodSandboxStatusResponse> {
        let request = PodSandboxStatusRequest {
            pod_sandbox_id: id.to_owned(),
            verbose: true,
        };
        self.call("/runtime.v1.RuntimeService/PodSandboxStatus", &request)
    }

    /// All sandboxes.
    ///
    /// # Errors
    /// No answer.
    pub fn list_pod_sandboxes(&self) -> Answer<Vec<PodSandbox>> {
        let answer: ListPodSandboxResponse =
            self.call("/runtime.v1.RuntimeService/ListPodSandbox", &Empty {})?;
        Ok(answer.items)
    }

    /// Makes a container and gives its id.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn create_container(&self, request: &CreateContainerRequest) -> Answer<String> {
        let answer: ContainerId =
            self.call("/runtime.v1.RuntimeService/CreateContainer", request)?;
        Ok(answer.container_id)
    }

    /// Starts a container.
    ///
    /// # Errors
    /// The runtime refuses.
    pub fn start_container(&self, id: &str) -> Answer<()> {
        let request = ContainerId {
            container_id: id.to_owned(),
        };
        self.call::<Empty>("/runtime.v1.RuntimeService/StartContainer", &request)
            .map(|_| ())
    }

    /// Runs a command in a container and waits for its end.
    ///
    /// # Errors
    /// The runtime refuses, or the command takes too long.
    pub fn exec_sync(
        &self,
        id: &str,
        command: &[String],
        patience: Duration,
    ) -> Answer<ExecSyncResponse> {
        let timeout = i64::try_from(patience.as_secs()).unwrap_or(0);
        let request = ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command.to_vec(),
            timeout,
        };
        self.call_within(
            "/runtime.v1.RuntimeService/ExecSync",
            &request,
            patience + PATIENCE,
        )
    }

    /// Whether the runtime's CRI side knows an image.
    ///
    /// # Errors
    /// No answer.
    pub fn has_image(&self, name: &str) -> Answer<bool> {
        let request = ImageStatusRequest {
            image: Some(ImageSpec {
                image: name.to_owned(),
            }),
        };
        let answer: ImageStatusResponse =
            self.call("/runtime.v1.ImageService/ImageStatus", &request)?;
        Ok(answer.image.is_some())
    }
}
