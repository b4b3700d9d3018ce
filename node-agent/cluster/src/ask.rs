//! Asks for one pod, because the watch is behind the runtime.

use std::time::Duration;

use kube::Client;
use node_agent_enrollment::{Asked, PodFacts, PodRef, Rules};
use tokio::sync::Mutex;

use crate::access::Access;
use crate::objects::{all_namespaces, namespace_facts, pod_facts, pods_of};
use crate::problem::{Problem, within};

/// Asks for single pods.
#[derive(Debug)]
pub(crate) struct Asker {
    access: Access,
    client: Mutex<Option<Kept>>,
}

/// A client that worked so far.
struct Kept(Client);

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Asker {
    pub(crate) fn new(access: Access) -> Self {
        Self {
            access,
            client: Mutex::new(None),
        }
    }

    /// The pod, and its namespace; an answer of some kind within the limit.
    pub(crate) async fn ask(&self, rules: &Rules, pod: &PodRef, limit: Duration) -> Asked {
        let asking = tokio::time::timeout(limit, self.pod_and_namespace(rules, pod, limit));
        let outcome = asking.await.unwrap_or(Err(Problem::Late(limit)));
        outcome.unwrap_or_else(|problem| Asked::NoAnswer {
            why: problem.to_string(),
        })
    }

    async fn pod_and_namespace(
        &self,
        rules: &Rules,
        pod: &PodRef,
        limit: Duration,
    ) -> Result<Asked, Problem> {
        let client = self.client().await?;
        let (pods, namespaces) = (
            pods_of(client.clone(), &pod.namespace),
            all_namespaces(client),
        );
        let (found, namespace) = tokio::join!(
            within(limit, pods.get(&pod.name)),
            within(limit, namespaces.get(&pod.namespace)),
        );
        let found = match found {
            Err(problem) if problem.is_not_found() => return Ok(Asked::NoSuchPod),
            Err(problem) => {
                self.doubt(&problem).await;
                return Err(problem);
            }
            Ok(found) => pod_facts(found),
        };
        // The namespace may be known already; if not, that is what will be said.
        let namespace = namespace.ok().map(|found| namespace_facts(found).labels);
        Ok(answer(rules, found, namespace))
    }

    /// The client that worked so far, or a new one.
    pub(crate) async fn client(&self) -> Result<Client, Problem> {
        let mut kept = self.client.lock().await;
        if let Some(Kept(client)) = &*kept {
            return Ok(client.clone());
        }
        let client = self.access.client().await?;
        *kept = Some(Kept(client.clone()));
        Ok(client)
    }

    /// The next one asks with a new client, whose credentials are read anew.
    pub(crate) async fn doubt(&self, problem: &Problem) {
        if problem.is_refused() || matches!(problem, Problem::Connection(_)) {
            *self.client.lock().await = None;
        }
    }
}

fn answer(
    rules: &Rules,
    found: PodFacts,
    namespace: Option<node_agent_enrollment::Labels>,
) -> Asked {
    Asked::Pod {
        pod: Box::new(rules.listed(found)),
        namespace,
    }
}
