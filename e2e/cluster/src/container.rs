//! Into a container by the runtime of its node: without the API server and the kubelet, which may be away.

use crate::cluster::Cluster;
use crate::node::Node;
use anyhow::{Context, Result, ensure};
use e2e_netlab::run;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One that runs. Found while the API server answers, it is of use when that does not.
#[derive(Debug)]
pub struct Container<'a> {
    node: &'a Node,
    id: String,
    log: PathBuf,
}

impl<'a> Container<'a> {
    /// A container of a pod, by its name.
    ///
    /// # Errors
    /// There is none, it does not run, or its node is not ours.
    pub fn of(cluster: &'a Cluster, namespace: &str, pod: &str, name: &str) -> Result<Self> {
        let found = cluster.json(&["-n", namespace, "get", "pod", pod])?;
        let node = found["spec"]["nodeName"].as_str().context("no node yet")?;
        let uid = found["metadata"]["uid"].as_str().context("no uid")?;
        let all = found["status"]["containerStatuses"].as_array();
        let one = all.and_then(|all| all.iter().find(|one| one["name"] == name));
        let one = one.with_context(|| format!("{pod} has no container {name}"))?;
        let id = one["containerID"].as_str().unwrap_or_default();
        let id = id.strip_prefix("containerd://").context("it has no id")?;
        let node = cluster.node(node)?;
        let logs = node.machine().directory().join("log/pods");
        Ok(Self {
            node,
            id: id.to_owned(),
            log: logs.join(format!("{namespace}_{pod}_{uid}")).join(name),
        })
    }

    /// A program that runs in it.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("e2e-{}-{number}", std::process::id());
        let mut command = self.node.enter("ctr");
        command
            .args(["-n", "k8s.io", "task", "exec", "--exec-id", &name, &self.id])
            .args(words);
        command
    }

    /// Runs a program in it to its end; its standard output is the answer.
    ///
    /// # Errors
    /// It fails.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        run(&mut self.command(words))
    }

    /// What it has written since it was started last.
    ///
    /// # Errors
    /// There is no such file.
    pub fn log(&self) -> Result<String> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.log).context("the directory of its log")? {
            files.push(entry?.path());
        }
        files.sort();
        let last = files.last();
        ensure!(last.is_some(), "no log in {}", self.log.display());
        let bytes = std::fs::read(last.context("one")?)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
