//! The pods file: its document types, and the roster it becomes once it makes sense. The API server
//! makes such a roster too (see [`crate::Cluster`]).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;

use crate::record::{AttachmentKey, PodRef};
use crate::selectors::{Labels, Selectors};

/// The document: which namespaces and pods there are, with the labels that decide membership.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodsFile {
    /// Namespaces with their labels.
    pub namespaces: Vec<ListedNamespace>,
    /// Pods with their service accounts and labels.
    pub pods: Vec<ListedPod>,
}

/// One namespace of the document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListedNamespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
}

/// One pod of the document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListedPod {
    /// The namespace it is in.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The service account it runs as; Kubernetes calls the one of pods that name none `default`.
    #[serde(default = "default_service_account")]
    pub service_account: String,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// Its uid; when given, a pod of the same name with another uid is not this one.
    #[serde(default)]
    pub uid: Option<String>,
    /// Path of its network namespace, if it runs already; then it is taken in and out as its
    /// labels say. Without it, the pod is enrolled when the runtime adds it.
    #[serde(default)]
    pub netns: Option<String>,
    /// Its addresses; needed with `netns`, whose namespace must carry them.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// The sandbox's id at the runtime, by which the runtime will delete it; needed with `netns`.
    #[serde(default)]
    pub container_id: Option<String>,
    /// The interface's name in the pod.
    #[serde(default = "default_ifname")]
    pub ifname: String,
    /// What the API server says beyond that; no file says so.
    #[serde(skip)]
    pub seen: Option<Seen>,
}

/// What the API server says of a pod beyond what a file may say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The uid by which the API server knows it. The node knows static pods by another one.
    pub uid: String,
    /// Why it is outside of the mesh whatever labels say.
    pub barred: Option<Barred>,
    /// The value of [`crate::REDIRECTION_ANNOTATION`].
    pub redirection: Option<String>,
    /// The ids of its containers, of which the sandbox is none.
    pub containers: Vec<String>,
}

/// Why a pod cannot be in the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// It has the node's network.
    HostNetwork,
    /// It has a sidecar, which does the same.
    Sidecar,
    /// Its containers have ended for good.
    Ended,
    /// It is the agent's own.
    Agent,
}

/// Who says which pods there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// The pods file, which is complete by definition.
    #[default]
    File,
    /// The API server, of which a list may be missing, and which the runtime may be ahead of.
    Kubernetes(Progress),
}

/// How much of the API server's state is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not all of it was ever listed.
    Partial,
    /// All of it was listed once, and changes are followed as far as they come.
    Whole,
}

/// Where a pod runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The attachment, as the runtime will name it when it deletes the pod.
    pub attachment: AttachmentKey,
    /// Path of its network namespace.
    pub netns: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

impl ListedPod {
    /// The pod, as the runtime names it.
    #[must_use]
    pub fn reference(&self) -> PodRef {
        PodRef {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
        }
    }

    /// Where it runs, if that is listed.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        Some(Place {
            attachment: AttachmentKey {
                container_id: self.container_id.clone()?,
                ifname: self.ifname.clone(),
            },
            netns: self.netns.clone()?,
            addresses: self.addresses.iter().map(IpAddr::to_canonical).collect(),
        })
    }
}

/// Kubernetes' runtimes call it so, all of them.
pub(crate) fn default_ifname() -> String {
    "eth0".to_owned()
}

pub(crate) fn default_service_account() -> String {
    "default".to_owned()
}

/// Everything wrong with a pods file; the operator must edit it, trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct RosterMistakes(pub Vec<String>);

/// What is known of pods and namespaces, indexed. Copies are cheap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    pub(crate) source: Source,
    pub(crate) selectors: Arc<Selectors>,
    pub(crate) namespaces: Arc<BTreeMap<String, Labels>>,
    pub(crate) pods: Arc<BTreeMap<(String, String), ListedPod>>,
}

impl Roster {
    /// Who says so.
    #[must_use]
    pub fn source(&self) -> Source {
        self.source
    }

    /// The labels of a namespace, if it is listed.
    #[must_use]
    pub fn namespace_labels(&self, name: &str) -> Option<&Labels> {
        self.namespaces.get(name)
    }

    /// The entry of a pod, if it is listed.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<&ListedPod> {
        // A lookup by two borrowed parts would need a borrowed pair type; ADD is not that hot.
        self.pods.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// All pods that are listed.
    pub fn pods(&self) -> impl Iterator<Item = &ListedPod> {
        self.pods.values()
    }

    /// The same, with other selectors than the usual ones.
    #[must_use]
    pub fn selecting(self, selectors: Arc<Selectors>) -> Self {
        Self { selectors, ..self }
    }

    /// How many pods are listed.
    #[must_use]
    pub fn pod_count(&self) -> usize {
        self.pods.len()
    }
}

impl TryFrom<PodsFile> for Roster {
    type Error = RosterMistakes;

    fn try_from(file: PodsFile) -> Result<Self, RosterMistakes> {
        let mut mistakes = Vec::new();
        let mut namespaces = BTreeMap::new();
        for (index, namespace) in file.namespaces.into_iter().enumerate() {
            let place = format!("namespaces[{index}]");
            check_name(&place, "name", &namespace.name, &mut mistakes);
            let ListedNamespace { name, labels } = namespace;
            if namespaces.insert(name.clone(), labels).is_some() {
                mistakes.push(format!("{place}: namespace {name:?} is listed twice"));
            }
        }
        let mut pods = BTreeMap::new();
        for (index, pod) in file.pods.into_iter().enumerate() {
            list(&mut pods, &format!("pods[{index}]"), pod, &mut mistakes);
        }
        if mistakes.is_empty() {
            Ok(Self {
                namespaces: Arc::new(namespaces),
                pods: Arc::new(pods),
                ..Self::default()
            })
        } else {
            Err(RosterMistakes(mistakes))
        }
    }
}

fn list(
    pods: &mut BTreeMap<(String, String), ListedPod>,
    place: &str,
    pod: ListedPod,
    mistakes: &mut Vec<String>,
) {
    check_name(place, "namespace", &pod.namespace, mistakes);
    check_name(place, "name", &pod.name, mistakes);
    check_name(place, "serviceAccount", &pod.service_account, mistakes);
    check_place(place, &pod, mistakes);
    let key = (pod.namespace.clone(), pod.name.clone());
    if let Some(twice) = pods.insert(key, pod) {
        let ListedPod {
            namespace, name, ..
        } = twice;
        mistakes.push(format!("{place}: pod {namespace}/{name} is listed twice"));
    }
}

/// Names become parts of identities, so nothing but what Kubernetes allows may pass.
fn check_name(place: &str, field: &str, value: &str, mistakes: &mut Vec<String>) {
    if !is_kubernetes_name(value) {
        mistakes.push(format!(
            "{place}.{field}: expected a name of lower-case letters, digits, dashes and dots, \
             found {value:?}"
        ));
    }
}

/// Whether Kubernetes would take this as a name.
pub(crate) fn is_kubernetes_name(value: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    !value.is_empty() && value.len() <= 253 && value.bytes().all(allowed)
}

/// A pod that runs is said to run somewhere, completely or not at all.
fn check_place(place: &str, pod: &ListedPod, mistakes: &mut Vec<String>) {
    let Some(netns) = &pod.netns else { return };
    if !netns.starts_with('/') {
        mistakes.push(format!(
            "{place}.netns: expected the path of a network namespace from the root, found {netns:?}"
        ));
    }
    if pod.addresses.is_empty() {
        mistakes.push(format!(
            "{place}.addresses: a pod with netns needs its addresses, which its namespace must carry"
        ));
    }
    if pod.container_id.as_deref().unwrap_or_default().is_empty() {
        mistakes.push(format!(
            "{place}.containerId: a pod with netns needs the id by which the runtime will delete it"
        ));
    }
    if pod.ifname.is_empty() {
        mistakes.push(format!("{place}.ifname: expected the name of an interface"));
    }
}

#[cfg(test)]
mod tests;
