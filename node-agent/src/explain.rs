//! Explains one pod: whether it belongs to the mesh and why, and what of that is so on record and in
//! the kernel.

use std::sync::Arc;
use std::time::Duration;

use node_agent_cluster::ClusterHandle;
use node_agent_enrollment::{Decision, Entry, OnUnknown, PodRef, Roster, decide, decide_asked};
use node_agent_handover::{Job, JobDone};
use node_agent_namespace::Netns;
use serde_json::{Value, json};
use tokio::sync::watch;
use tunnel_credentials::Credentials;

use crate::certificates::Former;
use crate::dump;
use crate::link::Holder;
use crate::pods::Pods;
use crate::repairs::{Repair, Repairs};

/// What an explanation is made of.
pub(crate) struct Explainer {
    pub(crate) roster: watch::Receiver<Option<Arc<Roster>>>,
    pub(crate) excluded_namespaces: Vec<String>,
    pub(crate) on_unknown: OnUnknown,
    pub(crate) cluster: Option<ClusterHandle>,
    pub(crate) pods: Pods,
    pub(crate) holder: Holder,
    pub(crate) credentials: Credentials,
    pub(crate) former: Former,
    pub(crate) trust_domain: String,
    pub(crate) repairs: Repairs,
}

impl Explainer {
    /// Explains the pod that is named `namespace/name`.
    pub(crate) async fn explain(&self, named: &str) -> Result<String, String> {
        let pod = parse(named)?;
        let (decision, asked) = self.decision(&pod).await;
        let view = self.pods.view();
        let mut recorded = Vec::new();
        for entry in view.iter().filter(|entry| entry.record.pod.may_be(&pod)) {
            let mut told = dump::pod(entry);
            told["assumed"] = entry.record.attachment.is_assumed().into();
            told["kernel"] = self.kernel(entry).await;
            let repaired = self.repairs.of(&entry.record.attachment);
            told["repaired"] = repaired.as_ref().map(Repair::shown).into();
            recorded.push(told);
        }
        let account = match &decision {
            Decision::InMesh(member) => Some(member.service_account.clone()),
            _ => view
                .iter()
                .find(|entry| entry.record.pod.may_be(&pod))
                .map(|entry| entry.record.service_account.clone()),
        };
        let certificate = account.and_then(|account| self.certificate(&pod, &account));
        let explanation = json!({
            "pod": pod.to_string(),
            "verdict": verdict(&decision),
            "reason": decision.reason(),
            "asked": asked,
            "place": self.place(&pod),
            "recorded": recorded,
            "trouble": self.pods.troubles().get(&pod.to_string()),
            "certificate": certificate,
        });
        Ok(explanation.to_string())
    }

    /// As an ADD would have it now; whether the API server had to be asked.
    async fn decision(&self, pod: &PodRef) -> (Decision, bool) {
        let roster = self.roster.borrow().clone();
        let excluded = &self.excluded_namespaces;
        let decision = decide(roster.as_deref(), excluded, pod);
        let (Decision::Unknown { .. }, Some(cluster)) = (&decision, &self.cluster) else {
            return (decision, false);
        };
        let asked = cluster.ask(pod, PATIENCE).await;
        let decision = decide_asked(roster.as_deref(), excluded, pod, &asked, self.on_unknown);
        (decision, true)
    }

    /// Where it is said to run.
    fn place(&self, pod: &PodRef) -> Option<Value> {
        let roster = self.roster.borrow().clone()?;
        let place = roster.pod(&pod.namespace, &pod.name)?.place()?;
        Some(json!({ "netns": place.netns, "addresses": place.addresses }))
    }

    fn certificate(&self, pod: &PodRef, account: &str) -> Option<Value> {
        let (domain, namespace) = (&self.trust_domain, &pod.namespace);
        let identity = tunnel_model::Identity::new(domain, namespace, account).ok()?;
        let summaries = self.credentials.summaries();
        let ours = summaries.into_iter().find(|one| one.identity == identity);
        let former = self.former.now();
        let all = dump::certificates::all(ours.as_slice(), &former);
        let identity = identity.to_string();
        all.into_iter().find(|one| one["identity"] == identity)
    }

    /// How the pod's rules are, compared with what is on record.
    async fn kernel(&self, entry: &Entry) -> Value {
        match tokio::time::timeout(PATIENCE, self.drift(entry)).await {
            Ok(Ok(drift)) if drift.is_empty() => json!({ "rules": "as planned" }),
            Ok(Ok(drift)) => json!({ "rules": "differ", "drift": drift }),
            Ok(Err(why)) => json!({ "rules": "unknown", "why": why }),
            Err(_) => json!({ "rules": "unknown", "why": "the holder does not answer" }),
        }
    }

    async fn drift(&self, entry: &Entry) -> Result<Vec<String>, String> {
        let record = &entry.record;
        let path = record.netns.as_deref();
        let path = path.ok_or("the agent cannot see its network namespace under a path")?;
        let opened = self.holder.namespace(path).await;
        let netns = opened.map_err(|error| error.to_string())?;
        let netns = netns.ok_or_else(|| format!("there is no network namespace at {path}"))?;
        let netns = Netns::from_fd(netns).map_err(|error| error.to_string())?;
        if netns.id().ino != record.namespace_id.inode
            || netns.id().dev != record.namespace_id.device
        {
            return Err(format!("{path} is another network namespace than it was"));
        }
        let plan = serde_json::from_value(record.plan.clone()).map_err(|e| e.to_string())?;
        let work = self
            .holder
            .work(Job::Check { plan }, Some(netns.into()), PATIENCE);
        match work.await.map_err(|error| error.to_string())? {
            JobDone::Drift(drift) => Ok(drift),
            other => Err(format!("the holder did something else: {other:?}")),
        }
    }
}

/// A pod as people name it.
pub(crate) fn parse(named: &str) -> Result<PodRef, String> {
    let right = |part: &str| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        !part.is_empty() && part.bytes().all(allowed)
    };
    match named.split_once('/') {
        Some((namespace, name)) if right(namespace) && right(name) => Ok(PodRef {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: None,
        }),
        _ => Err(format!("{named:?} names no pod: give namespace/name\n")),
    }
}

fn verdict(decision: &Decision) -> &'static str {
    match decision {
        Decision::InMesh(_) => "in the mesh",
        Decision::NotInMesh { .. } => "outside of the mesh",
        Decision::Unknown { .. } => "unknown",
    }
}

/// Who asks is a person.
const PATIENCE: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn pods_are_named_by_two_names() {
        let pod = parse("shop/cart-0.x").unwrap();
        assert_eq!(
            (pod.namespace.as_str(), pod.name.as_str()),
            ("shop", "cart-0.x")
        );
        for wrong in [
            "",
            "cart",
            "/cart",
            "shop/",
            "a/b/c",
            "shop/c&x=1",
            "Shop/cart",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
