//! The plugin's own members of the network configuration.

use std::path::PathBuf;
use std::time::Duration;

use cni_plugin_spec::{ConfigError, NetworkConfig, PodName};

/// Where the agent listens unless the configuration says otherwise.
const AGENT_SOCKET: &str = "/run/ambient/agent.sock";
/// Well below what runtimes allow for a sandbox (two minutes and more).
const DEADLINE_MS: u64 = 20_000;
const DEADLINE_RANGE_MS: std::ops::RangeInclusive<u64> = 500..=110_000;
const AGENT_POD_PREFIX: &str = "ambient-agent-";
/// The longest path a Unix socket can be reached by.
const LONGEST_SOCKET: usize = 107;

/// The plugin's own members.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `agent_socket`
    pub(crate) agent_socket: PathBuf,
    /// `deadline_ms`: for a whole call.
    pub(crate) deadline: Duration,
    exclude_namespaces: Vec<String>,
    agent_namespace: Option<String>,
    agent_pod_prefix: String,
}

impl Settings {
    pub(crate) fn read(config: &NetworkConfig) -> Result<Self, ConfigError> {
        let text = |name: &str| config.member::<String>(name);
        let agent_socket = text("agent_socket")?.unwrap_or_else(|| AGENT_SOCKET.to_owned());
        if !agent_socket.starts_with('/') || agent_socket.len() > LONGEST_SOCKET {
            return Err(invalid(
                "agent_socket",
                "it is an absolute path of at most 107 bytes",
            ));
        }
        let deadline = config.member::<u64>("deadline_ms")?.unwrap_or(DEADLINE_MS);
        if !DEADLINE_RANGE_MS.contains(&deadline) {
            return Err(invalid("deadline_ms", "it is a number from 500 to 110000"));
        }
        Ok(Self {
            agent_socket: agent_socket.into(),
            deadline: Duration::from_millis(deadline),
            exclude_namespaces: config.member("exclude_namespaces")?.unwrap_or_default(),
            agent_namespace: text("agent_namespace")?.filter(|name| !name.is_empty()),
            agent_pod_prefix: text("agent_pod_prefix")?
                .unwrap_or_else(|| AGENT_POD_PREFIX.to_owned()),
        })
    }

    /// `log_file`, read apart: a call that other mistakes end is recorded too.
    pub(crate) fn log_file(config: &NetworkConfig) -> Result<Option<PathBuf>, ConfigError> {
        let path = config
            .member::<String>("log_file")?
            .filter(|path| !path.is_empty());
        if path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Err(invalid("log_file", "it is an absolute path"));
        }
        Ok(path.map(PathBuf::from))
    }

    /// Why the pod passes without the agent, if it does. The agent's own pod must: it could not
    /// start if it had to wait for itself.
    pub(crate) fn bypass(&self, pod: Option<&PodName>) -> Option<String> {
        let Some(pod) = pod else {
            return Some("the container is not a pod of Kubernetes".to_owned());
        };
        if self.is_agent(pod) {
            return Some("this is the node agent's own pod".to_owned());
        }
        self.exclude_namespaces
            .contains(&pod.namespace)
            .then(|| format!("namespace {} is excluded", pod.namespace))
    }

    /// Whether the agent runs as a pod, which this plugin has to let start.
    pub(crate) fn agent_is_a_pod(&self) -> bool {
        self.agent_namespace.is_some() && !self.agent_pod_prefix.is_empty()
    }

    /// Whether this is a pod of the node agent.
    pub(crate) fn is_agent(&self, pod: &PodName) -> bool {
        self.agent_namespace.as_deref() == Some(&pod.namespace)
            && !self.agent_pod_prefix.is_empty()
            && pod.name.starts_with(&self.agent_pod_prefix)
    }
}

fn invalid(name: &str, why: &str) -> ConfigError {
    ConfigError::Member {
        name: name.to_owned(),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests;
