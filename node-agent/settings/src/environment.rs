//! What a pod of the agent is told about itself by its environment, because one document is for all nodes.

use serde_json::{Map, Value};

/// Settings that differ from pod to pod, and the variables that upstream's manifests give them by.
const OWN: [(&str, &str); 5] = [
    ("node", "NODE_NAME"),
    ("podName", "POD_NAME"),
    ("podNamespace", "POD_NAMESPACE"),
    ("podIp", "INSTANCE_IP"),
    ("serviceAccount", "SERVICE_ACCOUNT"),
];

/// Adds what the document leaves out and the environment says. What the document says stands. Without a control plane
/// nobody asks who we are, so only the node's name is taken then.
pub(crate) fn fill(map: &mut Map<String, Value>, variable: impl Fn(&str) -> Option<String>) {
    let asked = map.contains_key("xdsAddress");
    for (key, name) in OWN {
        let wanted = asked || key == "node";
        if wanted
            && !map.contains_key(key)
            && let Some(value) = variable(name).filter(|value| !value.is_empty())
        {
            map.insert(key.to_owned(), Value::String(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn filled(document: &Value) -> Value {
        let mut map = document.as_object().cloned().unwrap_or_default();
        fill(&mut map, |name| {
            (name != "INSTANCE_IP").then(|| format!("of {name}"))
        });
        Value::Object(map)
    }

    #[test]
    fn the_environment_says_what_the_document_leaves_out() {
        assert_eq!(filled(&json!({})), json!({"node": "of NODE_NAME"}));
        assert_eq!(
            filled(&json!({"xdsAddress": "istiod:15012", "node": "n", "podName": "p"})),
            json!({
                "xdsAddress": "istiod:15012", "node": "n", "podName": "p",
                "podNamespace": "of POD_NAMESPACE", "serviceAccount": "of SERVICE_ACCOUNT",
            })
        );
    }

    #[test]
    fn an_empty_variable_says_nothing() {
        let mut map = Map::new();
        fill(&mut map, |_| Some(String::new()));
        assert!(map.is_empty());
    }
}
