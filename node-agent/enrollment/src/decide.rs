//! Whether a pod belongs to the mesh, and why.

use crate::record::PodRef;
use crate::roster::{Barred, ListedPod, Progress, Roster, Source};
use crate::selectors::{Labels, NamespaceSays, Selected};

/// Whether a pod belongs to the mesh; the reason is for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It does.
    InMesh(Member),
    /// It does not; its traffic is none of our business.
    NotInMesh {
        /// Why not.
        reason: String,
    },
    /// It cannot be told, so the pod must not start: its traffic could leave in clear.
    Unknown {
        /// What is missing, and where to supply it.
        reason: String,
    },
}

/// A pod that belongs to the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The service account its identity comes from.
    pub service_account: String,
    /// Why it belongs.
    pub reason: String,
}

/// What the API server answered when it was asked for one pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// This is the pod.
    Pod {
        /// The pod.
        pod: Box<ListedPod>,
        /// The labels of its namespace, where that was asked for too.
        namespace: Option<Labels>,
    },
    /// There is no such pod.
    NoSuchPod,
    /// There was no answer.
    NoAnswer {
        /// Why not.
        why: String,
    },
}

/// What happens to a new pod of which nobody can tell whether it belongs to the mesh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnUnknown {
    /// It does not start.
    #[default]
    Fail,
    /// It starts outside of the mesh.
    Start,
}

impl Decision {
    /// The reason, whichever it is.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::InMesh(member) => &member.reason,
            Self::NotInMesh { reason } | Self::Unknown { reason } => reason,
        }
    }
}

/// Decides from the roster (`None`: never read yet) and the namespaces that are always left out.
///
/// The first rule that applies wins: excluded namespace, what bars a pod whatever its labels say,
/// the selectors. A pod that is not listed is outside of the mesh only if the list is complete by
/// definition, and its namespace is outside too: else its identity cannot be told.
#[must_use]
pub fn decide(roster: Option<&Roster>, excluded_namespaces: &[String], pod: &PodRef) -> Decision {
    if let Some(excluded) = excluded(excluded_namespaces, pod) {
        return excluded;
    }
    let Some(roster) = roster else {
        return unknown("the pods file has not been read yet".to_owned());
    };
    match roster.pod(&pod.namespace, &pod.name) {
        Some(listed) => by_entry(roster, listed, None, pod),
        None => unlisted(roster, pod),
    }
}

/// Decides from what the API server answered, because the roster did not know the pod.
#[must_use]
pub fn decide_asked(
    roster: Option<&Roster>,
    excluded_namespaces: &[String],
    pod: &PodRef,
    asked: &Asked,
    on_unknown: OnUnknown,
) -> Decision {
    if let Some(excluded) = excluded(excluded_namespaces, pod) {
        return excluded;
    }
    let nothing = Roster::default();
    let roster = roster.unwrap_or(&nothing);
    match asked {
        Asked::Pod {
            pod: listed,
            namespace,
        } => by_entry(roster, listed, namespace.as_ref(), pod),
        Asked::NoSuchPod => unknown(format!(
            "the API server has no pod {pod}: it was deleted, or is not created yet; the runtime \
             tries again if it still wants the pod"
        )),
        Asked::NoAnswer { why } => by_namespace(roster, pod, why, on_unknown),
    }
}

fn outside(reason: String) -> Decision {
    Decision::NotInMesh { reason }
}

fn unknown(reason: String) -> Decision {
    Decision::Unknown { reason }
}

fn excluded(excluded_namespaces: &[String], pod: &PodRef) -> Option<Decision> {
    let namespace = &pod.namespace;
    let excluded = excluded_namespaces.contains(namespace);
    excluded.then(|| outside(format!("namespace {namespace} is excluded by the settings")))
}

/// What follows from not being listed.
fn unlisted(roster: &Roster, pod: &PodRef) -> Decision {
    let PodRef {
        namespace, name, ..
    } = pod;
    match roster.source() {
        Source::Kubernetes(Progress::Partial) => unknown(
            "the API server has not told yet which pods and namespaces there are".to_owned(),
        ),
        Source::Kubernetes(Progress::Whole) => {
            unknown(format!("the API server has not told of pod {pod} yet"))
        }
        Source::File => {
            let labels = roster.namespace_labels(namespace);
            let says = labels.map(|labels| roster.selectors.namespace_says(labels));
            if says == Some(NamespaceSays::In) {
                return unknown(format!(
                    "namespace {namespace} is in the mesh, but the pods file does not list pod \
                     {name}, so its service account is not known; add it there"
                ));
            }
            outside(format!(
                "the pods file lists neither pod {pod} nor its namespace as ambient"
            ))
        }
    }
}

fn by_entry(
    roster: &Roster,
    listed: &ListedPod,
    namespace: Option<&Labels>,
    pod: &PodRef,
) -> Decision {
    if let Some(reason) = other_incarnation(roster.source(), listed, pod) {
        return unknown(reason);
    }
    if let Some(barred) = listed.seen.as_ref().and_then(|seen| seen.barred) {
        return outside(barred.reason().to_owned());
    }
    let name = &listed.namespace;
    let namespace = namespace.or_else(|| match (roster.source(), roster.namespace_labels(name)) {
        (_, Some(labels)) => Some(labels),
        // A namespace that the file does not list has no labels.
        (Source::File, None) => Some(&NO_LABELS),
        (Source::Kubernetes(_), None) => None,
    });
    match roster.selectors.select(&listed.labels, name, namespace) {
        Selected::Yes(reason) => Decision::InMesh(Member {
            service_account: listed.service_account.clone(),
            reason,
        }),
        Selected::No(reason) => outside(reason),
        Selected::NamespaceUnknown => unknown(format!(
            "the API server has not told of namespace {name} yet, and the pod's own labels leave it \
             to the namespace"
        )),
    }
}

static NO_LABELS: Labels = Labels::new();

/// A listed uid that is not this pod's: the entry speaks of an earlier or later pod of that name.
fn other_incarnation(source: Source, listed: &ListedPod, pod: &PodRef) -> Option<String> {
    let (listed_uid, uid) = (listed.uid.as_deref()?, pod.uid.as_deref()?);
    if listed_uid == uid {
        return None;
    }
    let (who, advice) = match source {
        Source::File => (
            "the pods file lists",
            "the file speaks of another pod of the same name",
        ),
        Source::Kubernetes(_) => (
            "the API server knows",
            "it speaks of another pod of the same name, and may not have told of this one yet",
        ),
    };
    Some(format!(
        "{who} {pod} with uid {listed_uid}, but this pod has uid {uid}; {advice}"
    ))
}

/// Nobody can be asked, so the namespace decides as far as it can.
fn by_namespace(roster: &Roster, pod: &PodRef, why: &str, on_unknown: OnUnknown) -> Decision {
    let namespace = &pod.namespace;
    let labels = roster.namespace_labels(namespace);
    let known = match labels.map(|labels| roster.selectors.namespace_says(labels)) {
        Some(NamespaceSays::In) => {
            return unknown(format!(
                "namespace {namespace} is in the mesh, and the API server does not answer for pod \
                 {pod}: {why}; it starts once the API server answers"
            ));
        }
        Some(NamespaceSays::Out) => {
            return outside(format!("no pod of namespace {namespace} is selected"));
        }
        Some(NamespaceSays::Nothing) => "is not in the mesh as a whole",
        None => "is not known",
    };
    let reason = format!(
        "the API server does not answer for pod {pod}: {why}; namespace {namespace} {known}"
    );
    match on_unknown {
        OnUnknown::Fail => unknown(format!(
            "{reason}, and onUnknownPod: fail lets no such pod start; it starts once the API \
             server answers"
        )),
        OnUnknown::Start => outside(format!(
            "{reason}, and onUnknownPod: start lets such a pod start outside of the mesh"
        )),
    }
}

impl Barred {
    /// In words.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::HostNetwork => "the pod has the node's network (hostNetwork)",
            Self::Sidecar => "the pod has a sidecar (annotation sidecar.istio.io/status)",
            Self::Ended => "the pod has ended",
            Self::Agent => "the pod is the agent's own",
        }
    }
}

#[cfg(test)]
mod tests;
