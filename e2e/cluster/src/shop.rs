//! A scene for scenarios: a cluster with the bundle, a client on one node, a server on the other, both in the mesh.

use crate::bundle::Bundle;
use crate::cluster::Cluster;
use crate::container::Container;
use crate::load::Load;
use crate::options::Options;
use crate::workloads::{MODE, account, list, namespace, pod, service};
use anyhow::{Context, Result};
use e2e_netlab::wait;
use serde_json::Value;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
const NAMESPACE: &str = "shop";
const SERVES: [&str; 5] = ["serve", "--http", "8080", "--echo", "9000"];
/// Accounts that pods may run under.
const ACCOUNTS: [&str; 4] = ["client", "server", "late", "outside"];

/// The cluster with its pods.
#[derive(Debug)]
pub struct Shop {
    /// The cluster.
    pub cluster: Cluster,
    /// Its nodes: the client's first, where istiod is too, then the server's.
    pub nodes: Vec<String>,
}

impl Shop {
    /// Starts it; the chart is installed with these values. The server has answered the client when this returns.
    ///
    /// # Errors
    /// Something of it does not become ready.
    pub fn open(options: &Options, values: &[&str]) -> Result<Self> {
        let cluster = Cluster::start(options)?;
        Bundle::install(&cluster, values, PATIENCE)?;
        let mut nodes = cluster.nodes()?;
        let place = "jsonpath={.items[0].spec.nodeName}";
        let asked = ["-n", "istio-system", "get", "pods", "-l", "app=istiod"];
        let first = cluster.kubectl(&[&asked[..], &["-o", place]].concat())?;
        nodes.sort_by_key(|node| *node != first);
        let shop = Self { cluster, nodes };
        let mut items = vec![namespace(NAMESPACE, true)];
        items.extend(ACCOUNTS.map(|name| account(NAMESPACE, name)));
        items.extend([
            pod(NAMESPACE, "client", shop.first()?, &[]),
            pod(NAMESPACE, "server", shop.second()?, &SERVES),
            service(NAMESPACE, "server", &[(80, 8080), (90, 9000)]),
        ]);
        shop.cluster.apply(&list(&items))?;
        let pods = ["-n", NAMESPACE, "pod/client", "pod/server"];
        shop.cluster.wait(&pods, "condition=Ready", PATIENCE)?;
        shop.until_reached("server")?;
        Ok(shop)
    }

    /// The client's node.
    ///
    /// # Errors
    /// There is none.
    pub fn first(&self) -> Result<&str> {
        self.nodes.first().map(String::as_str).context("no node")
    }

    /// The server's node.
    ///
    /// # Errors
    /// There is only one.
    pub fn second(&self) -> Result<&str> {
        self.nodes
            .get(1)
            .map(String::as_str)
            .context("only one node")
    }

    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> Bundle<'_> {
        Bundle::on(&self.cluster)
    }

    /// A value of something in its namespace, by its path (`.status.podIP`).
    ///
    /// # Errors
    /// There is no such thing.
    pub fn get(&self, what: &str, path: &str) -> Result<String> {
        let path = format!("jsonpath={{{path}}}");
        self.cluster
            .kubectl(&["-n", NAMESPACE, "get", what, "-o", &path])
    }

    /// What was said of a pod in events.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn events(&self, pod: &str) -> Result<String> {
        let about = format!("involvedObject.name={pod}");
        let asked = ["-n", NAMESPACE, "get", "events", "--field-selector", &about];
        self.cluster.kubectl(&asked)
    }

    /// A pod beside the server, not applied yet.
    ///
    /// # Errors
    /// There is no node for it.
    pub fn beside_server(&self, name: &str) -> Result<Value> {
        Ok(pod(NAMESPACE, name, self.second()?, &SERVES))
    }

    /// Adds a pod beside the server, in the mesh.
    ///
    /// # Errors
    /// The API server refuses.
    pub fn add(&self, name: &str) -> Result<()> {
        self.cluster.apply(&self.beside_server(name)?.to_string())
    }

    /// Adds a pod beside the server that its label keeps out of the mesh, under an account, and waits until it runs.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn add_outside(&self, name: &str, account: &str) -> Result<()> {
        let mut pod = self.beside_server(name)?;
        pod["metadata"]["labels"][MODE] = "none".into();
        pod["spec"]["serviceAccountName"] = account.into();
        self.cluster.apply(&pod.to_string())?;
        let what = ["-n", NAMESPACE, &format!("pod/{name}")];
        self.cluster.wait(&what, "condition=Ready", PATIENCE)
    }

    /// Takes a running pod into the mesh by its label; the agent does it a moment later.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn label_into_mesh(&self, pod: &str) -> Result<()> {
        let label = format!("{MODE}=ambient");
        let words = ["-n", NAMESPACE, "label", "--overwrite", "pod", pod, &label];
        self.cluster.kubectl(&words).map(drop)
    }

    /// Waits until the agent says that it has taken a pod in.
    ///
    /// # Errors
    /// It does not in time.
    pub fn until_captured(&self, pod: &str) -> Result<()> {
        let value = "jsonpath={.metadata.annotations.ambient\\.istio\\.io/redirection}=enabled";
        let what = ["-n", NAMESPACE, &format!("pod/{pod}")];
        self.cluster.wait(&what, value, PATIENCE)
    }

    /// Waits until a pod is ready and answers the client.
    ///
    /// # Errors
    /// It does not in time.
    pub fn until_reached(&self, name: &str) -> Result<()> {
        let what = ["-n", NAMESPACE, &format!("pod/{name}")];
        self.cluster.wait(&what, "condition=Ready", PATIENCE)?;
        let to = format!(
            "{}:8080",
            self.get(&format!("pod/{name}"), ".status.podIP")?
        );
        let words = ["/podkit", "call", "http", "--to", &to];
        let more = ["--path", MARK, "--timeout-ms", "20000"];
        let words = [&words[..], &more[..]].concat();
        wait::until(&to, PATIENCE, || {
            self.cluster.exec(NAMESPACE, "client", &words)
        })?;
        Ok(())
    }

    /// Removes a pod.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn remove(&self, name: &str) -> Result<()> {
        let pod = format!("pod/{name}");
        let words = ["-n", NAMESPACE, "delete", &pod];
        self.cluster.kubectl(&words).map(drop)
    }

    /// A load from the client to the server: 200 new connections a second beside ten long-lived ones. It needs neither the
    /// API server nor a kubelet.
    ///
    /// # Errors
    /// It does not begin.
    pub fn load(&self) -> Result<Load> {
        let to = format!("{}:90", self.get("service/server", ".spec.clusterIP")?);
        let options = ["--to", &to, "--rate", "200", "--keep", "10"];
        let options = [&options[..], &["--seconds", "3600"]].concat();
        let client = Container::of(&self.cluster, NAMESPACE, "client", "main")?;
        Load::start_in(&client, &options)
    }
}

/// In every call of [`Shop::until_reached`].
pub const MARK: &str = "/in-clear-this-is-seen";
