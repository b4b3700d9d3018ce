//! The bundle on a cluster, as a user puts it there: its image on the nodes, then its chart by helm.

use crate::cluster::Cluster;
use anyhow::{Context, Result, ensure};
use e2e_netlab::{run, wait};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The namespace that istiod trusts the agent in.
pub const NAMESPACE: &str = "istio-system";
const RELEASE: &str = "ambient";
const CONTAINER: &str = "istio-proxy";
/// Where a `DaemonSet` says which version of its pods is the present one; they have it as a label.
const GENERATION: &str = "deprecated.daemonset.template.generation";

/// The chart's directory.
#[must_use]
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests/chart")
}

/// The bundle, as installed on a cluster.
#[derive(Clone, Debug)]
pub struct Bundle<'a> {
    cluster: &'a Cluster,
}

impl<'a> Bundle<'a> {
    /// Brings the image that `AMBIENT_IMAGE_ARCHIVE` names to the nodes, installs the chart with these values (`a.b=c`),
    /// and waits until a pod of it is ready on every node.
    ///
    /// # Errors
    /// There is no image, helm fails, or the pods do not become ready.
    pub fn install(cluster: &'a Cluster, values: &[&str], patience: Duration) -> Result<Self> {
        let archive = std::env::var_os("AMBIENT_IMAGE_ARCHIVE")
            .map(PathBuf::from)
            .context("AMBIENT_IMAGE_ARCHIVE is not set: hack/test sets it")?;
        cluster.import_image(&archive)?;
        let bundle = Self::on(cluster);
        bundle.upgrade(values, patience)?;
        Ok(bundle)
    }

    /// The one that is installed on a cluster.
    #[must_use]
    pub fn on(cluster: &'a Cluster) -> Self {
        Self { cluster }
    }

    /// Installs the chart anew with these values, and waits until every node has a pod of it.
    ///
    /// # Errors
    /// helm fails, or the pods do not become ready.
    pub fn upgrade(&self, values: &[&str], patience: Duration) -> Result<()> {
        let mut helm = self.helm(&["upgrade", "--install", RELEASE]);
        helm.arg(chart().canonicalize()?);
        // Imported by hand, there is nowhere to pull it from.
        for value in values.iter().chain(&["imagePullPolicy=Never"]) {
            helm.args(["--set", value]);
        }
        run(&mut helm)?;
        self.wait(patience)
    }

    /// Waits until every node has a pod of the present version that is ready. `kubectl rollout status` would also wait for
    /// the end of former pods, which serve their connections to the end.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait(&self, patience: Duration) -> Result<()> {
        let what = ["-n", NAMESPACE, "daemonset/ztunnel"];
        self.cluster.wait(&what, "create", patience)?;
        let nodes = self.cluster.nodes()?;
        wait::until("the present agent on every node", patience, || {
            let set = ["-n", NAMESPACE, "get", "daemonset", "ztunnel"];
            let set = self.cluster.json(&set)?;
            let seen = set["status"]["observedGeneration"] == set["metadata"]["generation"];
            ensure!(seen, "its last change was not seen yet");
            let version = &set["metadata"]["annotations"][GENERATION];
            let pods = ["-n", NAMESPACE, "get", "pods", "-l", "app=ztunnel"];
            let pods = self.cluster.json(&pods)?;
            let pods = pods["items"].as_array().context("a list has items")?;
            for node in &nodes {
                let ready = |pod: &Value| is_ready(pod, node, version);
                ensure!(pods.iter().any(ready), "none on {node}");
            }
            Ok(())
        })
    }

    fn helm(&self, words: &[&str]) -> Command {
        let mut helm = self.cluster.client("helm");
        helm.args(words).args(["--namespace", NAMESPACE]);
        helm
    }

    fn kubectl(&self, words: &[&str]) -> Result<String> {
        let mut all = vec!["-n", NAMESPACE];
        all.extend(words);
        self.cluster.kubectl(&all)
    }

    /// The names of its pods on a node that are not on their way out, the oldest first.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn pods(&self, node: &str) -> Result<Vec<String>> {
        let field = format!("spec.nodeName={node}");
        let asked = ["-n", NAMESPACE, "get", "pods", "-l", "app=ztunnel"];
        let more = [
            "--sort-by=.metadata.creationTimestamp",
            "--field-selector",
            &field,
        ];
        let all = self.cluster.json(&[&asked[..], &more[..]].concat())?;
        let items = all["items"].as_array().context("a list has items")?;
        let staying = items
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(staying
            .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
            .collect())
    }

    /// The one pod of a node.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn pod(&self, node: &str) -> Result<String> {
        let mut pods = self.pods(node)?;
        ensure!(pods.len() == 1, "pods of the agent on {node}: {pods:?}");
        pods.pop().context("there is one")
    }

    /// What the agent of a node has logged.
    ///
    /// # Errors
    /// It has no pod.
    pub fn log(&self, node: &str) -> Result<String> {
        self.kubectl(&["logs", &self.pod(node)?, "-c", CONTAINER])
    }

    /// Runs the agent's program beside a running one of it, such as `explain`; its standard output is the answer.
    ///
    /// # Errors
    /// It fails.
    pub fn ask(&self, node: &str, words: &[&str]) -> Result<String> {
        let pod = self.pod(node)?;
        let mut asked = vec!["exec", &pod, "-c", CONTAINER, "--", "ambient-agent"];
        asked.extend(words);
        asked.extend(["--config", "/etc/ambient/agent.yaml"]);
        self.kubectl(&asked)
    }

    /// What the agent of a node says of a pod.
    ///
    /// # Errors
    /// It says nothing.
    pub fn explain(&self, node: &str, pod: &str) -> Result<String> {
        self.ask(node, &["explain", pod])
    }

    /// What `istioctl ztunnel-config` prints of the agent of a node, as JSON.
    ///
    /// # Errors
    /// It cannot read what the agent answers.
    pub fn ztunnel_config(&self, node: &str, what: &str) -> Result<Value> {
        let pod = format!("{}.{NAMESPACE}", self.pod(node)?);
        let mut istioctl = self.cluster.client("istioctl");
        let text = run(istioctl.args(["ztunnel-config", what, &pod, "-o", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("ztunnel-config {what}: {text}"))
    }
}

/// Whether a pod stays, is of this version, and is ready on a node.
fn is_ready(pod: &Value, node: &str, version: &Value) -> bool {
    let (metadata, status) = (&pod["metadata"], &pod["status"]);
    let conditions = status["conditions"].as_array();
    let ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
    metadata["deletionTimestamp"].is_null()
        && pod["spec"]["nodeName"] == node
        && metadata["labels"]["pod-template-generation"] == *version
        && conditions.is_some_and(|all| all.iter().any(ready))
}
