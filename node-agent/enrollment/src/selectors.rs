//! Which labels put a pod into the mesh: selectors as Kubernetes writes them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// Labels, by key.
pub type Labels = BTreeMap<String, String>;

/// The label, of namespaces and of pods, that says who carries their traffic.
pub const DATAPLANE_MODE_LABEL: &str = "istio.io/dataplane-mode";

const AMBIENT: &str = "ambient";
const NONE: &str = "none";

/// A pod belongs to the mesh if one of these selects it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selectors {
    list: Vec<EnablementSelector>,
    /// They are the usual two, of which people know the labels by heart.
    usual: bool,
}

/// Selects pods by their own labels and by those of their namespace; both halves must agree. An
/// empty half agrees to everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EnablementSelector {
    /// What is asked of the pod's labels.
    pub pod_selector: LabelSelector,
    /// What is asked of its namespace's labels.
    pub namespace_selector: LabelSelector,
}

/// What is asked of labels; all of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LabelSelector {
    /// Labels that must have these values.
    pub match_labels: Labels,
    /// What else is asked.
    pub match_expressions: Vec<Requirement>,
}

/// What is asked of one label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what; empty for the operators that ask whether the label is there.
    #[serde(default)]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Operator {
    /// Its value is one of those named.
    In,
    /// It is none of them, or the label is not there.
    NotIn,
    /// It is there.
    Exists,
    /// It is not.
    DoesNotExist,
}

/// A selector without sense; the operator must correct the setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "selector {number}, label {key:?}: In and NotIn need values, Exists and DoesNotExist have none"
)]
pub struct SelectorMistake {
    number: usize,
    key: String,
}

/// Whether labels select a pod, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selected {
    /// They do; the reason names the label.
    Yes(String),
    /// They do not.
    No(String),
    /// It depends on the namespace, whose labels are not known.
    NamespaceUnknown,
}

/// What a namespace says of a pod whose own labels are not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamespaceSays {
    /// Its pods are in the mesh, unless they say otherwise.
    In,
    /// No pod of it is, whatever its labels are.
    Out,
    /// It depends on the pod.
    Nothing,
}

impl Default for Selectors {
    /// The label [`DATAPLANE_MODE_LABEL`] is `ambient` on the pod, or on its namespace and the pod
    /// does not say `none`.
    fn default() -> Self {
        let ambient = LabelSelector {
            match_labels: Labels::from([(DATAPLANE_MODE_LABEL.into(), AMBIENT.into())]),
            match_expressions: Vec::new(),
        };
        let not_opted_out = LabelSelector {
            match_labels: Labels::new(),
            match_expressions: vec![Requirement {
                key: DATAPLANE_MODE_LABEL.into(),
                operator: Operator::NotIn,
                values: vec![NONE.into()],
            }],
        };
        let by_pod = EnablementSelector {
            pod_selector: ambient.clone(),
            namespace_selector: LabelSelector::default(),
        };
        let by_namespace = EnablementSelector {
            pod_selector: not_opted_out,
            namespace_selector: ambient,
        };
        Self {
            list: vec![by_pod, by_namespace],
            usual: true,
        }
    }
}

impl Selectors {
    /// These instead of the usual two; with none, no pod is in the mesh.
    ///
    /// # Errors
    /// One has no sense.
    pub fn new(list: Vec<EnablementSelector>) -> Result<Self, SelectorMistake> {
        for (index, selector) in list.iter().enumerate() {
            let halves = [&selector.pod_selector, &selector.namespace_selector];
            let mut all = halves.into_iter().flat_map(|half| &half.match_expressions);
            if let Some(wrong) = all.find(|requirement| !requirement.makes_sense()) {
                return Err(SelectorMistake {
                    number: index + 1,
                    key: wrong.key.clone(),
                });
            }
        }
        let usual = Self::default();
        let usual = list == usual.list;
        Ok(Self { list, usual })
    }

    /// Drops the labels that no selector asks for.
    pub fn keep_what_is_asked_for(&self, labels: &mut Labels) {
        let halves = |one: &EnablementSelector| {
            let keys = [&one.pod_selector, &one.namespace_selector].map(LabelSelector::keys);
            keys.concat()
        };
        let asked: BTreeSet<String> = self.list.iter().flat_map(halves).collect();
        labels.retain(|key, _| asked.contains(key));
    }

    /// Whether a pod with these labels is selected. `namespace` is its namespace's labels, if they
    /// are known.
    pub(crate) fn select(&self, pod: &Labels, name: &str, namespace: Option<&Labels>) -> Selected {
        let mut unknown = false;
        for (index, selector) in self.list.iter().enumerate() {
            if !selector.pod_selector.holds(pod) {
                continue;
            }
            let asked = &selector.namespace_selector;
            match (asked.is_empty(), namespace) {
                (true, _) => return Selected::Yes(self.reason(index, name)),
                (false, None) => unknown = true,
                (false, Some(labels)) if asked.holds(labels) => {
                    return Selected::Yes(self.reason(index, name));
                }
                (false, Some(_)) => {}
            }
        }
        if unknown {
            Selected::NamespaceUnknown
        } else {
            Selected::No(self.not_selected(pod, name))
        }
    }

    /// What is known of a pod of which only the namespace is known.
    pub(crate) fn namespace_says(&self, namespace: &Labels) -> NamespaceSays {
        let mut possible = false;
        for selector in &self.list {
            let asked = &selector.namespace_selector;
            if asked.is_empty() {
                possible = true;
            } else if asked.holds(namespace) {
                return NamespaceSays::In;
            }
        }
        if possible {
            NamespaceSays::Nothing
        } else {
            NamespaceSays::Out
        }
    }

    fn reason(&self, index: usize, namespace: &str) -> String {
        match (self.usual, index) {
            (true, 0) => format!("the pod is labelled {DATAPLANE_MODE_LABEL}={AMBIENT}"),
            (true, _) => {
                format!("namespace {namespace} is labelled {DATAPLANE_MODE_LABEL}={AMBIENT}")
            }
            (false, _) => format!(
                "selector {} of the settings selects the pod in namespace {namespace}",
                index + 1
            ),
        }
    }

    fn not_selected(&self, pod: &Labels, namespace: &str) -> String {
        let mode = pod.get(DATAPLANE_MODE_LABEL).map(String::as_str);
        match (self.usual, mode) {
            (true, Some(NONE)) => format!("the pod is labelled {DATAPLANE_MODE_LABEL}={NONE}"),
            (true, _) => format!(
                "neither the pod nor namespace {namespace} is labelled \
                 {DATAPLANE_MODE_LABEL}={AMBIENT}"
            ),
            (false, _) => {
                format!("no selector of the settings selects the pod in namespace {namespace}")
            }
        }
    }
}

impl LabelSelector {
    fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    fn holds(&self, labels: &Labels) -> bool {
        let equal = |(key, value): (&String, &String)| labels.get(key) == Some(value);
        self.match_labels.iter().all(equal)
            && self.match_expressions.iter().all(|r| r.holds(labels))
    }

    fn keys(&self) -> Vec<String> {
        let expressions = self.match_expressions.iter().map(|r| &r.key);
        self.match_labels
            .keys()
            .chain(expressions)
            .cloned()
            .collect()
    }
}

impl Requirement {
    fn makes_sense(&self) -> bool {
        let compares = matches!(self.operator, Operator::In | Operator::NotIn);
        compares != self.values.is_empty()
    }

    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => !value.is_some_and(|value| self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests;
