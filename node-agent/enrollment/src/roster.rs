//! The pods file: its document types, and the roster it becomes once it makes sense.

use std::collections::BTreeMap;

use serde::Deserialize;

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
    fn unknown_fields_are_refused() {
        let slip = json!({"pods": [{"namespace": "a", "name": "b", "serviceaccount": "c"}]});
        let error = serde_json::from_value::<PodsFile>(slip)
            .unwrap_err()
            .to_string();
        assert!(error.contains("serviceaccount"), "{error}");
    }
}
