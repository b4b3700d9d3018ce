//! A cluster, as scenarios see it: they do not know who made it.

use crate::addresses;
use crate::bare::Bare;
use crate::control;
use crate::existing::Existing;
use crate::kubectl::Kubectl;
use crate::machine::Machine;
use crate::node::Node;
use crate::options::Options;
use crate::outside::Outside;
use crate::programs::Programs;
use crate::watch::Phase;
use anyhow::{Context, Result, bail};
use e2e_netlab::{Capture, Wire};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A cluster that runs.
#[derive(Debug)]
pub struct Cluster {
    provider: Provider,
}

#[derive(Debug)]
enum Provider {
    Bare(Box<Bare>),
    Existing(Existing),
}

impl Cluster {
    /// The one that the environment names (`AMBIENT_KUBECONFIG`), else one of our own, which ends with this value.
    ///
    /// # Errors
    /// It cannot be started; nothing of it is left but its logs.
    pub fn start(options: &Options) -> Result<Self> {
        match Existing::from_env()? {
            Some(existing) => Ok(existing.into()),
            None => Self::bare(&Programs::from_env()?, options),
        }
    }

    /// One of our own.
    ///
    /// # Errors
    /// It cannot be started; nothing of it is left but its logs.
    pub fn bare(programs: &Programs, options: &Options) -> Result<Self> {
        let bare = Box::new(Bare::start(programs, options)?);
        Ok(Self {
            provider: Provider::Bare(bare),
        })
    }

    fn own(&self) -> Result<&Bare> {
        match &self.provider {
            Provider::Bare(bare) => Ok(bare),
            Provider::Existing(_) => bail!("this cluster's machines are not ours"),
        }
    }

    fn api(&self) -> &Kubectl {
        match &self.provider {
            Provider::Bare(bare) => &bare.kubectl,
            Provider::Existing(existing) => &existing.kubectl,
        }
    }

    /// Its name on this machine.
    ///
    /// # Errors
    /// It is not ours.
    pub fn name(&self) -> Result<&str> {
        Ok(&self.own()?.record.name)
    }

    /// How long the steps of its start took; none if it is not ours.
    #[must_use]
    pub fn phases(&self) -> &[Phase] {
        self.own().map_or(&[][..], |bare| bare.phases.as_slice())
    }

    /// Makes its API server reachable from this machine's own network, as long as the answer lives.
    ///
    /// # Errors
    /// The cluster is not ours, or no port can be opened.
    pub fn outside(&self) -> Result<Outside> {
        self.own()?.outside()
    }

    /// The names of its nodes.
    ///
    /// # Errors
    /// The API server does not answer.
    pub fn nodes(&self) -> Result<Vec<String>> {
        let names = "jsonpath={.items[*].metadata.name}";
        let text = self.kubectl(&["get", "nodes", "-o", names])?;
        Ok(text.split_whitespace().map(str::to_owned).collect())
    }

    /// One of its nodes.
    ///
    /// # Errors
    /// There is no such node, or the cluster is not ours.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let mut nodes = self.own()?.nodes.iter();
        nodes
            .find(|node| node.name() == name)
            .with_context(|| format!("there is no node {name}"))
    }

    /// A node loses its power and comes up again, the runtime and the kubelet first.
    ///
    /// # Errors
    /// There is no such node, the cluster is not ours, or it does not come up.
    pub fn reboot(&self, node: &str) -> Result<()> {
        self.own()?.reboot(self.node(node)?)
    }

    /// Kills the API server, and only it: what it has stored stays.
    ///
    /// # Errors
    /// It does not run, or the cluster is not ours.
    pub fn kill_api(&self) -> Result<()> {
        self.own()?.kill_api()
    }

    /// Starts the API server again; it answers when this returns, and has forgotten what it had told to whom.
    ///
    /// # Errors
    /// It does not come up, or the cluster is not ours.
    pub fn start_api(&self) -> Result<()> {
        self.own()?.start_api()
    }

    /// The file with the key by which service accounts' tokens are signed.
    ///
    /// # Errors
    /// The cluster is not ours.
    pub fn token_key(&self) -> Result<PathBuf> {
        Ok(self.own()?.token_key())
    }

    /// The machine of the control plane.
    ///
    /// # Errors
    /// It is not ours.
    pub fn control(&self) -> Result<&Machine> {
        Ok(&self.own()?.control)
    }

    /// Captures all that passes between a node and the rest of the cluster.
    ///
    /// # Errors
    /// There is no such node, the cluster is not ours, or tcpdump does not start.
    pub fn capture(&self, node: &str) -> Result<Capture> {
        let bare = self.own()?;
        let file = bare.control.directory().join(format!("{node}.pcap"));
        let wire = Wire {
            tcpdump: bare.control.on_network("tcpdump"),
            interface: control::port(node),
            sender: self.node(node)?.machine().netns(),
            outside: addresses::BROADCAST,
        };
        Capture::on(wire, &file)
    }

    /// A client of its API server, such as `helm` or `istioctl`, where it has to run.
    #[must_use]
    pub fn client(&self, name: &str) -> Command {
        self.api().client(name)
    }

    /// Runs kubectl to its end; its standard output is the answer.
    ///
    /// # Errors
    /// It fails: with its standard error.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.api().run(arguments)
    }

    /// What kubectl prints as JSON.
    ///
    /// # Errors
    /// It fails: with its standard error.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        self.api().json(arguments)
    }

    /// Applies manifests.
    ///
    /// # Errors
    /// One is refused.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.api().apply(manifests)
    }

    /// Creates something; what the API server answers.
    ///
    /// # Errors
    /// It is refused.
    pub fn create(&self, manifest: &str) -> Result<Value> {
        self.api().create(manifest)
    }

    /// An error if the API server would not take manifests as they are, with every field known; nothing is changed.
    ///
    /// # Errors
    /// One would be refused.
    pub fn accepts(&self, manifests: &str) -> Result<()> {
        self.api().accepts(manifests)
    }

    /// Waits until something exists and fulfils a condition as `kubectl wait --for` has them; `what` may begin with
    /// `-n NAMESPACE`.
    ///
    /// # Errors
    /// It does not in time.
    pub fn wait(&self, what: &[&str], condition: &str, patience: Duration) -> Result<()> {
        self.api().wait(what, condition, patience)
    }

    /// Runs a program in a pod; its standard output is the answer.
    ///
    /// # Errors
    /// It fails: with its standard error.
    pub fn exec(&self, namespace: &str, pod: &str, command: &[&str]) -> Result<String> {
        let mut arguments = vec!["-n", namespace, "exec", pod, "--"];
        arguments.extend(command);
        self.kubectl(&arguments)
    }

    /// Brings an image, out of an archive as `docker save` writes it, to all nodes.
    ///
    /// # Errors
    /// A node refuses it, or nothing is known of how to reach them.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        match &self.provider {
            Provider::Bare(bare) => bare.import(&[archive.to_owned()]),
            Provider::Existing(existing) => existing.import_image(archive),
        }
    }

    /// An error, with the end of its log, if a program of it has ended.
    ///
    /// # Errors
    /// One has.
    pub fn check(&self) -> Result<()> {
        self.own().map_or(Ok(()), Bare::check)
    }
}

impl From<Existing> for Cluster {
    fn from(existing: Existing) -> Self {
        Self {
            provider: Provider::Existing(existing),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Provider::Bare(bare) = &self.provider else {
            return;
        };
        let failed = std::thread::panicking();
        if failed {
            complain(&match bare.keep_logs() {
                Ok(place) => format!("the cluster's logs are in {}", place.display()),
                Err(error) => format!("the cluster's logs cannot be kept: {error:#}"),
            });
        }
        if let Err(error) = bare.end() {
            complain(&format!("tear-down of the cluster: {error:#}"));
            // A test that leaves something behind has failed; a second panic would hide the first.
            assert!(failed, "tear-down of the cluster: {error:#}");
        }
    }
}

#[expect(clippy::print_stderr, reason = "for the person who reads the test")]
fn complain(text: &str) {
    eprintln!("{text}");
}
