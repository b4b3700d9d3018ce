//! `CNI_ARGS`: what the runtime says about the pod.

use crate::environment::EnvironmentError;

/// The pod's name and namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodName {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// The arguments this plugin understands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodArgs {
    /// The pod; `None` if the container is not a pod of Kubernetes.
    pub pod: Option<PodName>,
    /// `K8S_POD_UID`; older runtimes do not say it.
    pub uid: Option<String>,
    /// `K8S_POD_INFRA_CONTAINER_ID`.
    pub infra_container_id: Option<String>,
}

impl PodArgs {
    /// Reads `KEY=VALUE;KEY=VALUE`.
    ///
    /// # Errors
    /// A pair without `=`, an unknown key without `IgnoreUnknown=1`, or a pod's name without its
    /// namespace: such a pod could not be told from one outside the mesh.
    pub fn parse(text: &str) -> Result<Self, EnvironmentError> {
        let mut args = Self::default();
        let (mut name, mut namespace) = (None, None);
        let mut ignore_unknown = false;
        let mut unknown = Vec::new();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| invalid(pair, "an argument has the form KEY=VALUE"))?;
            let given = (!value.is_empty()).then(|| value.to_owned());
            match key {
                "IgnoreUnknown" => ignore_unknown = truth(value)?,
                "K8S_POD_NAME" => name = given,
                "K8S_POD_NAMESPACE" => namespace = given,
                "K8S_POD_UID" => args.uid = given,
                "K8S_POD_INFRA_CONTAINER_ID" => args.infra_container_id = given,
                other => unknown.push(other.to_owned()),
            }
        }
        if !unknown.is_empty() && !ignore_unknown {
            return Err(EnvironmentError::UnknownArgs(unknown));
        }
        args.pod = match (name, namespace) {
            (Some(name), Some(namespace)) => Some(PodName { name, namespace }),
            (Some(_), None) => {
                return Err(invalid(
                    text,
                    "K8S_POD_NAME comes without K8S_POD_NAMESPACE",
                ));
            }
            (None, _) => None,
        };
        Ok(args)
    }
}

fn truth(value: &str) -> Result<bool, EnvironmentError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(invalid(value, "IgnoreUnknown is 1, 0, true or false")),
    }
}

fn invalid(value: &str, why: &'static str) -> EnvironmentError {
    EnvironmentError::Invalid {
        name: "CNI_ARGS",
        value: value.to_owned(),
        why,
    }
}
