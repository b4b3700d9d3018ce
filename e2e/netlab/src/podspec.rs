//! What a pod shall be, and how the runtime is told.

use crate::cri::{
    ContainerConfig, ContainerMetadata, ImageSpec, KeyValue, LinuxPodSandboxConfig,
    PodSandboxConfig, PodSandboxMetadata,
};
use crate::image;
use crate::pod::Home;
use std::collections::HashMap;
use std::path::Path;

/// What a pod shall be.
#[derive(Clone, Debug)]
pub struct PodSpec {
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Arguments of `podkit`: `["pause"]`, or `["serve", "--http", "8080"]`.
    pub arguments: Vec<String>,
    /// Its environment.
    pub environment: Vec<(String, String)>,
}

impl PodSpec {
    /// A pod that only waits, to be called from.
    #[must_use]
    pub fn idle(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            arguments: vec!["pause".to_owned()],
            environment: Vec::new(),
        }
    }

    /// A pod that serves these kinds on these ports.
    #[must_use]
    pub fn server(namespace: &str, name: &str, services: &[(&str, u16)]) -> Self {
        let mut spec = Self::idle(namespace, name);
        spec.arguments = vec!["serve".to_owned()];
        for (kind, port) in services {
            spec.arguments
                .extend([format!("--{kind}"), port.to_string()]);
        }
        spec
    }

    /// With one more variable in its environment.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The uid that Kubernetes would have given: the same for the same names, and unique in a lab.
    #[must_use]
    pub fn uid(&self) -> String {
        format!("uid-{}-{}", self.namespace, self.name)
    }
}

pub(crate) fn sandbox_config(home: &Home<'_>, spec: &PodSpec) -> PodSandboxConfig {
    let labels = [
        ("io.kubernetes.pod.name", spec.name.clone()),
        ("io.kubernetes.pod.namespace", spec.namespace.clone()),
        ("io.kubernetes.pod.uid", spec.uid()),
    ];
    PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: spec.name.clone(),
            uid: spec.uid(),
            namespace: spec.namespace.clone(),
            attempt: 0,
        }),
        hostname: format!("{}-{}", spec.namespace, spec.name),
        log_directory: home.logs.display().to_string(),
        labels: labels
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect::<HashMap<_, _>>(),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: home.cgroup.to_owned(),
        }),
    }
}

pub(crate) fn container_config(spec: &PodSpec, log: &Path) -> ContainerConfig {
    let variable = |(key, value): &(String, String)| KeyValue {
        key: key.clone(),
        value: value.clone(),
    };
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: "main".to_owned(),
        }),
        image: Some(ImageSpec {
            image: image::NAME.to_owned(),
        }),
        command: vec![image::PROGRAM.to_owned()],
        args: spec.arguments.clone(),
        envs: spec.environment.iter().map(variable).collect(),
        log_path: log
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    }
}
