//! What the API server says of pods and namespaces, reduced to what is used.

use std::net::IpAddr;

use crate::roster::{Barred, ListedPod, Seen, default_ifname, default_service_account};
use crate::selectors::{Labels, Selectors};

/// Says on a pod that its traffic is captured; `enabled` is what the control plane looks for.
pub const REDIRECTION_ANNOTATION: &str = "ambient.istio.io/redirection";
/// The injector of sidecars leaves it on the pods that have one.
const SIDECAR_ANNOTATION: &str = "sidecar.istio.io/status";
/// Both stand on what the API server shows of a static pod; the second is its uid on the node.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
const STATIC_UID_ANNOTATION: &str = "kubernetes.io/config.hash";

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid at the API server.
    pub uid: String,
    /// The service account it runs as, if it names one.
    pub service_account: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// It has the node's network.
    pub host_network: bool,
    /// Its addresses, once it has some.
    pub addresses: Vec<IpAddr>,
    /// How far it is.
    pub phase: PodPhase,
    /// The ids of its containers, as the runtime knows them.
    pub containers: Vec<String>,
}

/// How far a pod is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PodPhase {
    /// It waits, runs, or nobody knows.
    #[default]
    Alive,
    /// Its containers have ended and none will be started again.
    Ended,
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamespaceFacts {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

/// What holds for all pods of the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Which labels put a pod into the mesh.
    pub selectors: std::sync::Arc<Selectors>,
    /// The agent's own pods: their namespace, and how their names begin.
    pub agent: Option<(String, String)>,
}

impl Rules {
    /// What is kept of a pod. Labels and annotations that nobody asks for are not.
    #[must_use]
    pub fn listed(&self, facts: PodFacts) -> ListedPod {
        let barred = self.barred(&facts);
        let PodFacts {
            namespace,
            name,
            uid,
            service_account,
            mut labels,
            mut annotations,
            addresses,
            containers,
            ..
        } = facts;
        self.selectors.keep_what_is_asked_for(&mut labels);
        let is_static = annotations.contains_key(MIRROR_ANNOTATION);
        let on_the_node = annotations.remove(STATIC_UID_ANNOTATION);
        let on_the_node = on_the_node.filter(|_| is_static);
        ListedPod {
            namespace,
            name,
            service_account: service_account.unwrap_or_else(default_service_account),
            labels,
            uid: Some(on_the_node.unwrap_or_else(|| uid.clone())),
            netns: None,
            addresses: addresses.iter().map(IpAddr::to_canonical).collect(),
            container_id: None,
            ifname: default_ifname(),
            seen: Some(Seen {
                uid,
                barred,
                redirection: annotations.remove(REDIRECTION_ANNOTATION),
                containers,
            }),
        }
    }

    fn barred(&self, facts: &PodFacts) -> Option<Barred> {
        let is_ours = |(namespace, prefix): &(String, String)| {
            facts.namespace == *namespace && facts.name.starts_with(prefix.as_str())
        };
        if facts.host_network {
            Some(Barred::HostNetwork)
        } else if self.agent.as_ref().is_some_and(is_ours) {
            Some(Barred::Agent)
        } else if facts.annotations.contains_key(SIDECAR_ANNOTATION) {
            Some(Barred::Sidecar)
        } else if facts.phase == PodPhase::Ended {
            Some(Barred::Ended)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn annotated(pairs: &[(&str, &str)]) -> PodFacts {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        PodFacts {
            namespace: "n".into(),
            name: "agent-x".into(),
            uid: "u".into(),
            annotations: pairs.iter().map(pair).collect(),
            ..PodFacts::default()
        }
    }

    #[test]
    fn what_bars_a_pod() {
        let rules = Rules::default();
        let ours = Rules {
            agent: Some(("n".into(), "agent-".into())),
            ..Rules::default()
        };
        let plain = annotated(&[]);
        let host = PodFacts {
            host_network: true,
            ..plain.clone()
        };
        let ended = PodFacts {
            phase: PodPhase::Ended,
            ..plain.clone()
        };
        let sidecar = annotated(&[("sidecar.istio.io/status", "")]);
        let elsewhere = PodFacts {
            namespace: "m".into(),
            ..plain.clone()
        };
        for (rules, facts, expected) in [
            (&rules, &plain, None),
            (&rules, &host, Some(Barred::HostNetwork)),
            (&rules, &ended, Some(Barred::Ended)),
            (&rules, &sidecar, Some(Barred::Sidecar)),
            (&ours, &plain, Some(Barred::Agent)),
            (&ours, &elsewhere, None),
        ] {
            let listed = rules.listed(facts.clone());
            assert_eq!(listed.seen.unwrap().barred, expected, "{facts:?}");
        }
    }

    #[test]
    fn only_what_is_used_is_kept() {
        let mut facts = annotated(&[("big", "xxx"), (REDIRECTION_ANNOTATION, "enabled")]);
        facts.labels = Labels::from([("pod-template-hash".into(), "x".into())]);
        facts.addresses = vec!["::ffff:10.0.0.1".parse().unwrap()];
        let listed = Rules::default().listed(facts);
        assert!(listed.labels.is_empty());
        assert_eq!(listed.service_account, "default");
        assert_eq!(listed.addresses[0].to_string(), "10.0.0.1");
        assert_eq!(listed.uid.as_deref(), Some("u"));
        assert_eq!(listed.seen.unwrap().redirection.as_deref(), Some("enabled"));
    }

    #[test]
    fn a_static_pod_is_known_to_the_node_by_another_uid() {
        let facts = annotated(&[(MIRROR_ANNOTATION, "h"), (STATIC_UID_ANNOTATION, "h")]);
        let listed = Rules::default().listed(facts);
        assert_eq!(listed.uid.as_deref(), Some("h"));
        assert_eq!(listed.seen.unwrap().uid, "u");
        // Anybody may write the one; only the kubelet writes the other.
        let listed = Rules::default().listed(annotated(&[(STATIC_UID_ANNOTATION, "h")]));
        assert_eq!(listed.uid.as_deref(), Some("u"));
    }
}
