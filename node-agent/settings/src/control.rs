//! Where the mesh's state and its certificates come from: a control plane, or files.

use serde_json::{Map, Value};

use crate::mistakes::Mistake;

/// What of it contradicts itself.
pub(crate) fn contradictions(map: &Map<String, Value>) -> Vec<Mistake> {
    let mut mistakes = certificate_authority(map);
    mistakes.extend(mesh_state(map));
    mistakes.extend(own_pod(map));
    for (name, address) in [
        ("xdsServerName", "xdsAddress"),
        ("caServerName", "caAddress"),
    ] {
        if given(map, name) && !given(map, address) {
            mistakes.push(Mistake::about(
                name,
                format!("is of no use without {address}"),
            ));
        }
    }
    mistakes
}

fn certificate_authority(map: &Map<String, Value>) -> Vec<Mistake> {
    let development = map.get("development") == Some(&Value::Bool(true));
    let (cert, key) = (
        given(map, "developmentCaCert"),
        given(map, "developmentCaKey"),
    );
    let istiod = given(map, "caAddress");
    let mut mistakes = Vec::new();
    if cert != key {
        let missing = if cert {
            "developmentCaKey"
        } else {
            "developmentCaCert"
        };
        mistakes.push(Mistake::about(
            missing,
            "must be given together with the other half of the development authority's key pair",
        ));
    }
    if (cert || key) && !development {
        mistakes.push(Mistake::about(
            "development",
            "a development certificate authority is configured, but this is not a development \
             installation: anyone who reads its key can impersonate every pod; say \
             `development: true` only where that does not matter",
        ));
    }
    if istiod && (cert || key) {
        mistakes.push(Mistake::about(
            "caAddress",
            "cannot be given together with a development authority: a pod has one certificate",
        ));
    }
    if !cert && !key && !istiod {
        mistakes.push(Mistake::about_document(
            "no certificate authority is configured: give caAddress; or, for development only, \
             developmentCaCert and developmentCaKey and `development: true`",
        ));
    }
    mistakes
}

fn mesh_state(map: &Map<String, Value>) -> Option<Mistake> {
    match (given(map, "xdsAddress"), given(map, "meshFile")) {
        (true, true) => Some(Mistake::about(
            "xdsAddress",
            "cannot be given together with meshFile: either the control plane or the file says \
             what the mesh is",
        )),
        (false, false) => Some(Mistake::about(
            "meshFile",
            "must be given, or xdsAddress: without workloads, services and policies nothing can \
             be allowed",
        )),
        _ => None,
    }
}

/// The control plane refuses a node of which it does not know these.
fn own_pod(map: &Map<String, Value>) -> Vec<Mistake> {
    let asked = given(map, "xdsAddress");
    ["podName", "podNamespace"]
        .into_iter()
        .filter(|key| asked && !given(map, key))
        .map(|key| Mistake::about(key, "must be given with xdsAddress"))
        .collect()
}

pub(crate) fn given(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).is_some_and(|value| !value.is_null())
}
