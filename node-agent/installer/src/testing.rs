//! What several tests need.
#![allow(clippy::unwrap_used, reason = "tests")]

use node_agent_settings::Settings;
use serde_json::{Value, json};

use crate::entry::Entry;
use crate::file::{Age, Content, File, FileKind, Looks};

pub(crate) fn settings(changes: &Value) -> Settings {
    let mut document = json!({
        "node": "node-a", "podsFile": "/p", "meshFile": "/m", "development": true,
        "developmentCaCert": "/c", "developmentCaKey": "/k",
    });
    for (key, value) in changes.as_object().unwrap() {
        document[key] = value.clone();
    }
    Settings::from_document(&document).unwrap()
}

pub(crate) fn entry() -> Entry {
    Entry::new(&settings(&json!({})))
}

pub(crate) fn other_entry() -> Entry {
    Entry::new(&settings(&json!({
        "cniAgentSocket": "/elsewhere.sock", "excludeNamespaces": ["a", "b"],
        "agentNamespace": "mesh", "cniLogFile": "/var/log/ambient-cni.log",
    })))
}

pub(crate) fn file(name: &str, text: &str) -> File {
    File {
        name: name.to_owned(),
        content: Content::Text(text.to_owned()),
        looks: Looks {
            mode: 0o644,
            owner: None,
        },
        kind: FileKind::Regular,
        age: Age::Settled,
    }
}
