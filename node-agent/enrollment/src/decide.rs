//! Whether a pod belongs to the mesh, and why.

use crate::record::PodRef;
use crate::roster::{ListedPod, Roster};

/// The label, of namespaces and of pods, that says who carries their traffic.
pub const DATAPLANE_MODE_LABEL: &str = "istio.io/dataplane-mode";

const AMBIENT: &str = "ambient";
const NONE: &str = "none";

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

/// Decides from the roster (`None`: never read yet) and the namespaces that are always left out.
///
/// The first rule that applies wins: excluded namespace, the pod's own label, the namespace's
/// label. A pod of an ambient namespace that nobody listed is `Unknown`: its identity cannot be
/// told.
#[must_use]
pub fn decide(roster: Option<&Roster>, excluded_namespaces: &[String], pod: &PodRef) -> Decision {
    let outside = |reason: String| Decision::NotInMesh { reason };
    let unknown = |reason: String| Decision::Unknown { reason };
    if excluded_namespaces.contains(&pod.namespace) {
        return outside(format!(
            "namespace {} is excluded by the settings",
            pod.namespace
        ));
    }
    let Some(roster) = roster else {
        return unknown("the pods file has not been read yet".to_owned());
    };
    let namespace_is_ambient = roster
        .namespace_labels(&pod.namespace)
        .and_then(|labels| labels.get(DATAPLANE_MODE_LABEL))
        .is_some_and(|mode| mode == AMBIENT);
    let Some(listed) = roster.pod(&pod.namespace, &pod.name) else {
        return if namespace_is_ambient {
            unknown(format!(
                "namespace {} is in the mesh, but the pods file does not list pod {}, so its \
                 service account is not known; add it there",
                pod.namespace, pod.name
            ))
        } else {
            outside(format!(
                "the pods file lists neither pod {}/{} nor its namespace as ambient",
                pod.namespace, pod.name
            ))
        };
    };
    if let Some(reason) = other_incarnation(listed, pod) {
        return unknown(reason);
    }
    by_labels(listed, namespace_is_ambient)
}

/// A listed uid that is not this pod's: the entry speaks of an earlier or later pod of that name.
fn other_incarnation(listed: &ListedPod, pod: &PodRef) -> Option<String> {
    let (listed_uid, uid) = (listed.uid.as_deref()?, pod.uid.as_deref()?);
    (listed_uid != uid).then(|| {
        format!(
            "the pods file lists {}/{} with uid {listed_uid}, but this pod has uid {uid}; the file \
             speaks of another pod of the same name",
            pod.namespace, pod.name
        )
    })
}

fn by_labels(listed: &ListedPod, namespace_is_ambient: bool) -> Decision {
    let member = |reason: String| {
        Decision::InMesh(Member {
            service_account: listed.service_account.clone(),
            reason,
        })
    };
    match listed.labels.get(DATAPLANE_MODE_LABEL).map(String::as_str) {
        Some(AMBIENT) => member(format!(
            "the pod is labelled {DATAPLANE_MODE_LABEL}=ambient"
        )),
        Some(NONE) => Decision::NotInMesh {
            reason: format!("the pod is labelled {DATAPLANE_MODE_LABEL}=none"),
        },
        _ if namespace_is_ambient => member(format!(
            "namespace {} is labelled {DATAPLANE_MODE_LABEL}=ambient",
            listed.namespace
        )),
        _ => Decision::NotInMesh {
            reason: format!(
                "neither the pod nor namespace {} is labelled {DATAPLANE_MODE_LABEL}=ambient",
                listed.namespace
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use serde_json::json;

    use super::*;
    use crate::roster::PodsFile;

    fn roster() -> Roster {
        let ambient = json!({"istio.io/dataplane-mode": "ambient"});
        let none = json!({"istio.io/dataplane-mode": "none"});
        let file: PodsFile = serde_json::from_value(json!({
            "namespaces": [{"name": "mesh", "labels": ambient}, {"name": "plain"},
                           {"name": "system", "labels": ambient}],
            "pods": [
                {"namespace": "mesh", "name": "a", "serviceAccount": "sa", "uid": "u1"},
                {"namespace": "mesh", "name": "out", "labels": none},
                {"namespace": "mesh", "name": "odd", "labels": {"istio.io/dataplane-mode": "x"}},
                {"namespace": "plain", "name": "in", "labels": ambient},
                {"namespace": "plain", "name": "b"},
                {"namespace": "system", "name": "in", "labels": ambient},
            ],
        }))
        .unwrap();
        file.try_into().unwrap()
    }

    /// `expected`: `+` in, `-` out, `?` unknown, and a part of the reason.
    fn check(namespace: &str, name: &str, uid: Option<&str>, expected: (char, &str)) {
        let pod = PodRef {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.map(ToOwned::to_owned),
        };
        let decision = decide(Some(&roster()), &["system".to_owned()], &pod);
        let (sign, reason) = match &decision {
            Decision::InMesh(member) => ('+', &member.reason),
            Decision::NotInMesh { reason } => ('-', reason),
            Decision::Unknown { reason } => ('?', reason),
        };
        assert!(
            sign == expected.0 && reason.contains(expected.1),
            "{namespace}/{name}: {decision:?}"
        );
    }

    #[test]
    fn membership_table() {
        check("mesh", "a", Some("u1"), ('+', "namespace mesh is labelled"));
        check("mesh", "a", None, ('+', "namespace mesh is labelled"));
        check(
            "mesh",
            "a",
            Some("u2"),
            ('?', "another pod of the same name"),
        );
        check("mesh", "out", None, ('-', "the pod is labelled"));
        check("mesh", "odd", None, ('+', "namespace mesh is labelled"));
        check(
            "mesh",
            "unlisted",
            None,
            ('?', "does not list pod unlisted"),
        );
        check("plain", "in", None, ('+', "the pod is labelled"));
        check(
            "plain",
            "b",
            None,
            ('-', "neither the pod nor namespace plain"),
        );
        check("plain", "unlisted", None, ('-', "lists neither"));
        check("nowhere", "x", None, ('-', "lists neither"));
        check("system", "in", None, ('-', "excluded by the settings"));
    }

    #[test]
    fn the_service_account_comes_from_the_roster() {
        let pod = PodRef {
            namespace: "mesh".into(),
            name: "a".into(),
            uid: None,
        };
        let Decision::InMesh(member) = decide(Some(&roster()), &[], &pod) else {
            panic!()
        };
        assert_eq!(member.service_account, "sa");
    }

    #[test]
    fn without_a_roster_nothing_is_outside() {
        let pod = PodRef {
            namespace: "plain".into(),
            name: "b".into(),
            uid: None,
        };
        assert!(matches!(decide(None, &[], &pod), Decision::Unknown { .. }));
    }
}
