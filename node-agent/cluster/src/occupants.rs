//! Asks which pods have an address.

use std::net::IpAddr;
use std::time::Duration;

use kube::Api;
use kube::api::ListParams;
use node_agent_enrollment::{ListedPod, PodPhase, Rules};

use crate::ask::Asker;
use crate::objects::{PodObject, all_pods, pod_facts};
use crate::problem::{Problem, within};

/// Why nobody can tell which pods have an address.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NobodyTells(#[from] Problem);

impl Asker {
    /// The pods that live and have the address for themselves; an answer of some kind within the
    /// limit.
    pub(crate) async fn occupants(
        &self,
        rules: &Rules,
        ip: IpAddr,
        limit: Duration,
    ) -> Result<Vec<ListedPod>, NobodyTells> {
        let asking = tokio::time::timeout(limit, self.pods_at(ip, limit));
        let outcome = asking.await.unwrap_or(Err(Problem::Late(limit)));
        if let Err(problem) = &outcome {
            self.doubt(problem).await;
        }
        let pods = outcome?.into_iter().map(pod_facts);
        let here = pods.filter(|pod| {
            pod.phase == PodPhase::Alive && !pod.host_network && pod.addresses.contains(&ip)
        });
        Ok(here.map(|pod| rules.listed(pod)).collect())
    }

    async fn pods_at(&self, ip: IpAddr, limit: Duration) -> Result<Vec<PodObject>, Problem> {
        let pods = all_pods(self.client().await?);
        // The API server selects by the first address of a pod only.
        let first = ListParams::default().fields(&format!("status.podIP={ip}"));
        let found = within(limit, pods.list(&first)).await?.items;
        if !found.is_empty() || ip.is_ipv4() {
            return Ok(found);
        }
        look_through(&pods, ip, limit).await
    }
}

/// Looks through all pods, a page at a time: where pods have addresses of both families the second
/// one is of the sixth version.
async fn look_through(
    pods: &Api<PodObject>,
    ip: IpAddr,
    limit: Duration,
) -> Result<Vec<PodObject>, Problem> {
    let mut from = None;
    loop {
        let params = ListParams {
            limit: Some(PAGE),
            continue_token: from,
            ..ListParams::default()
        };
        let page = within(limit, pods.list(&params)).await?;
        let here = |pod: &PodObject| {
            let status = pod.status.as_ref();
            status.is_some_and(|status| status.addresses().contains(&ip))
        };
        let found: Vec<_> = page.items.into_iter().filter(here).collect();
        from = page.metadata.continue_.filter(|token| !token.is_empty());
        if !found.is_empty() || from.is_none() {
            return Ok(found);
        }
    }
}

const PAGE: u32 = 500;
