//! The pods file: its document types, and the roster it becomes once it makes sense.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use crate::record::AttachmentKey;

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
    pub labels: BTreeMap<String, String>,
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
    pub labels: BTreeMap<String, String>,
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

fn default_ifname() -> String {
    "eth0".to_owned()
}

fn default_service_account() -> String {
    "default".to_owned()
}

/// Everything wrong with a pods file; the operator must edit it, trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct RosterMistakes(pub Vec<String>);

/// A pods file that makes sense, indexed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pods: BTreeMap<(String, String), ListedPod>,
}

impl Roster {
    /// The labels of a namespace, if it is listed.
    #[must_use]
    pub fn namespace_labels(&self, name: &str) -> Option<&BTreeMap<String, String>> {
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
        let mut roster = Self::default();
        for (index, namespace) in file.namespaces.into_iter().enumerate() {
            let place = format!("namespaces[{index}]");
            check_name(&place, "name", &namespace.name, &mut mistakes);
            let ListedNamespace { name, labels } = namespace;
            if roster.namespaces.insert(name.clone(), labels).is_some() {
                mistakes.push(format!("{place}: namespace {name:?} is listed twice"));
            }
        }
        for (index, pod) in file.pods.into_iter().enumerate() {
            roster.list(&format!("pods[{index}]"), pod, &mut mistakes);
        }
        if mistakes.is_empty() {
            Ok(roster)
        } else {
            Err(RosterMistakes(mistakes))
        }
    }
}

impl Roster {
    fn list(&mut self, place: &str, pod: ListedPod, mistakes: &mut Vec<String>) {
        check_name(place, "namespace", &pod.namespace, mistakes);
        check_name(place, "name", &pod.name, mistakes);
        check_name(place, "serviceAccount", &pod.service_account, mistakes);
        check_place(place, &pod, mistakes);
        let key = (pod.namespace.clone(), pod.name.clone());
        if let Some(twice) = self.pods.insert(key, pod) {
            let ListedPod {
                namespace, name, ..
            } = twice;
            mistakes.push(format!("{place}: pod {namespace}/{name} is listed twice"));
        }
    }
}

/// Names become parts of identities, so nothing but what Kubernetes allows may pass.
fn check_name(place: &str, field: &str, value: &str, mistakes: &mut Vec<String>) {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let right = !value.is_empty() && value.len() <= 253 && value.bytes().all(allowed);
    if !right {
        mistakes.push(format!(
            "{place}.{field}: expected a name of lower-case letters, digits, dashes and dots, \
             found {value:?}"
        ));
    }
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn file(document: serde_json::Value) -> PodsFile {
        serde_json::from_value(document).unwrap()
    }

    fn roster(document: serde_json::Value) -> Result<Roster, RosterMistakes> {
        file(document).try_into()
    }

    #[test]
    fn a_good_file_is_indexed() {
        let roster = roster(json!({
            "namespaces": [{"name": "shop", "labels": {"istio.io/dataplane-mode": "ambient"}}],
            "pods": [{"namespace": "shop", "name": "cart-0", "serviceAccount": "cart", "uid": "u1"},
                     {"namespace": "shop", "name": "web-0"}],
        }))
        .unwrap();
        assert_eq!(roster.pod_count(), 2);
        assert_eq!(
            roster.pod("shop", "cart-0").unwrap().service_account,
            "cart"
        );
        assert_eq!(
            roster.pod("shop", "web-0").unwrap().service_account,
            "default"
        );
        assert_eq!(roster.pod("shop", "nobody"), None);
        assert!(
            roster.namespace_labels("shop").is_some() && roster.namespace_labels("x").is_none()
        );
    }

    #[test]
    fn every_mistake_is_reported_with_its_place() {
        let mistakes = roster(json!({
            "namespaces": [{"name": "shop"}, {"name": "shop"}, {"name": ""}],
            "pods": [{"namespace": "shop", "name": "a"}, {"namespace": "shop", "name": "a"},
                     {"namespace": "shop", "name": "b", "serviceAccount": "x/ns/other/sa/y"}],
        }))
        .unwrap_err();
        let expected = [
            "namespaces[1]",
            "namespaces[2].name",
            "pods[1]",
            "pods[2].serviceAccount",
        ];
        assert_eq!(mistakes.0.len(), expected.len(), "{mistakes}");
        for (mistake, place) in mistakes.0.iter().zip(expected) {
            assert!(mistake.starts_with(place), "{mistake}");
        }
    }

    #[test]
    fn a_pod_that_runs_says_where() {
        let listed = roster(json!({"pods": [
            {"namespace": "shop", "name": "cart-0", "netns": "/run/netns/x", "containerId": "c1",
             "addresses": ["10.0.0.7", "::ffff:10.0.0.8", "fd00::7"]},
            {"namespace": "shop", "name": "web-0", "addresses": ["10.0.0.9"]},
        ]}))
        .unwrap();
        let place = listed.pod("shop", "cart-0").unwrap().place().unwrap();
        assert_eq!(place.attachment.to_string(), "c1/eth0");
        assert_eq!(place.netns, "/run/netns/x");
        let addresses: Vec<String> = place.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.0.7", "10.0.0.8", "fd00::7"]);
        assert_eq!(listed.pod("shop", "web-0").unwrap().place(), None);

        let halves = roster(json!({"pods": [
            {"namespace": "shop", "name": "a", "netns": "netns/x", "ifname": ""},
        ]}))
        .unwrap_err();
        let expected = ["netns: ", "addresses: ", "containerId: ", "ifname: "];
        assert_eq!(halves.0.len(), expected.len(), "{halves}");
        for (mistake, field) in halves.0.iter().zip(expected) {
            assert!(
                mistake.starts_with(&format!("pods[0].{field}")),
                "{mistake}"
            );
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let slip = json!({"pods": [{"namespace": "a", "name": "b", "serviceaccount": "c"}]});
        let error = serde_json::from_value::<PodsFile>(slip)
            .unwrap_err()
            .to_string();
        assert!(error.contains("serviceaccount"), "{error}");
    }
}
