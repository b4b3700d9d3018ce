//! Writes to the API server what people and the control plane want to know of a pod. Nothing waits for
//! it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use node_agent_enrollment::{Annotate, PodRef};
use serde_json::json;

use crate::ask::Asker;
use crate::objects::pods_of;
use crate::problem::{Problem, within};

/// Something could not be written; the same may work later.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TellError(#[source] Problem);

impl TellError {
    /// The pod is gone, or another one has its name: there is nobody to write it to.
    #[must_use]
    pub fn is_pointless(&self) -> bool {
        matches!(
            self.0,
            Problem::Says {
                code: 404 | 409,
                ..
            }
        )
    }
}

/// Something that went wrong with a pod, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The pod.
    pub pod: PodRef,
    /// What kind of thing, in one word.
    pub reason: &'static str,
    /// What, in words.
    pub note: String,
}

pub(crate) async fn annotate(asker: &Asker, annotate: &Annotate) -> Result<(), TellError> {
    let client = asker.client().await.map_err(TellError)?;
    let (params, patch) = (PatchParams::default(), patch(annotate));
    let pods = pods_of(client, &annotate.namespace);
    let patching = pods.patch_status(&annotate.name, &params, &patch);
    told(asker, within(LIMIT, patching).await).await
}

/// With the uid in it, it is refused for another pod of the same name.
fn patch(annotate: &Annotate) -> Patch<serde_json::Value> {
    Patch::Merge(json!({
        "metadata": {
            "uid": annotate.uid,
            "annotations": { Annotate::KEY: annotate.value },
        },
    }))
}

pub(crate) async fn warn(asker: &Asker, node: &str, warning: &Warning) -> Result<(), TellError> {
    let client = asker.client().await.map_err(TellError)?;
    let event = event(node, warning, Timestamp::now());
    let events: Api<Event> = Api::namespaced(client, &warning.pod.namespace);
    let params = PostParams::default();
    told(asker, within(LIMIT, events.create(&params, &event)).await).await
}

fn event(node: &str, warning: &Warning, now: Timestamp) -> Event {
    let Warning { pod, reason, note } = warning;
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}.ambient.", pod.name)),
            namespace: Some(pod.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name.clone()),
            namespace: Some(pod.namespace.clone()),
            uid: pod.uid.clone(),
            ..ObjectReference::default()
        },
        type_: Some("Warning".to_owned()),
        reason: Some((*reason).to_owned()),
        message: Some(shortened(note)),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: Some(node.to_owned()),
        }),
        ..Event::default()
    }
}

/// The API server refuses longer ones.
fn shortened(note: &str) -> String {
    let mut ends = note.char_indices().map(|(at, _)| at);
    match ends.find(|at| *at >= LONGEST) {
        Some(end) => format!("{}…", &note[..end]),
        None => note.to_owned(),
    }
}

async fn told<T>(asker: &Asker, outcome: Result<T, Problem>) -> Result<(), TellError> {
    if let Err(problem) = &outcome {
        asker.doubt(problem).await;
    }
    outcome.map(drop).map_err(TellError)
}

const COMPONENT: &str = "ambient-agent";
const LIMIT: Duration = Duration::from_secs(10);
const LONGEST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_not_too_long() {
        assert_eq!(shortened("short"), "short");
        let long = "ä".repeat(1000);
        let short = shortened(&long);
        assert!(
            short.len() < 1024 && short.ends_with("ä…"),
            "{}",
            short.len()
        );
    }
}
