//! A cluster made of machines of our own.

use crate::addresses::{CONTROL, Place};
use crate::certificates::Authority;
use crate::istio::Istio;
use crate::kubectl::Kubectl;
use crate::machine::Machine;
use crate::node::Node;
use crate::options::Options;
use crate::outside::Outside;
use crate::programs::Programs;
use crate::record::ClusterRecord;
use crate::watch::{Phase, Watch};
use crate::{control, coredns, images, istio, limits, sweep};
use anyhow::{Context, Result, anyhow};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);

/// A running one. Dropped, it is torn down.
#[derive(Debug)]
pub(crate) struct Bare {
    pub(crate) record: ClusterRecord,
    pub(crate) kubectl: Kubectl,
    authority: Authority,
    pub(crate) control: Machine,
    pub(crate) nodes: Vec<Node>,
    pub(crate) phases: Vec<Phase>,
}

impl Bare {
    /// Starts one; a start that fails tears down what there was of it, and keeps its logs.
    pub(crate) fn start(programs: &Programs, options: &Options) -> Result<Self> {
        // Others must not take the directory for one of a run that has died.
        let lock = sweep::lock()?;
        sweep::sweep_under(&lock).context("removing what a former run left")?;
        let mut record = ClusterRecord::create(limits::too_low()?)?;
        drop(lock);
        let outcome =
            limits::raise(&record.limits).and_then(|()| Self::make(&mut record, programs, options));
        outcome.map_err(|error| {
            let logs = keep_logs(&record);
            let removed = sweep::remove(&record.name);
            let error = error.context(format!("starting a cluster (its logs: {logs:?})"));
            match removed {
                Ok(()) => error,
                Err(other) => error.context(format!("and its removal failed: {other:#}")),
            }
        })
    }

    fn make(record: &mut ClusterRecord, programs: &Programs, options: &Options) -> Result<Self> {
        let mut watch = Watch::start();
        let directory = record.directory()?;
        let authority = Authority::create(&control::pki(&directory))?;
        let kubeconfig = control::issue(&authority)?;
        let control = Machine::start(record, "control", &programs.peers)?;
        control::make_switch(&control)?;
        control::start_api(&control, &authority)?;
        let kubectl = kubectl(&control, kubeconfig);
        let nodes = nodes(record, programs, options, &control)?;
        watch.note("machines");
        for node in &nodes {
            node.start_runtime()?;
        }
        let archives = images::write(programs, &directory.join("images"))?;
        import(&nodes, &archives)?;
        watch.note("runtimes with images");
        control::wait_for_api(&control, &kubectl)?;
        watch.note("the API server");
        control::start_controllers(&control, &authority)?;
        for node in &nodes {
            node.start_kubelet(&authority)?;
        }
        coredns::apply(&kubectl)?;
        let mut bare = Self {
            record: record.clone(),
            kubectl,
            authority,
            control,
            nodes,
            phases: Vec::new(),
        };
        bare.wait_for_nodes()?;
        watch.note("nodes ready");
        bare.finish(programs, options, &mut watch)?;
        bare.phases = watch.phases();
        Ok(bare)
    }

    fn finish(&self, programs: &Programs, options: &Options, watch: &mut Watch) -> Result<()> {
        if options.istio == Istio::Installed {
            let directory = self.record.directory()?.join("images");
            import(&self.nodes, &[istio::write_image(programs, &directory)?])?;
            istio::apply(&self.kubectl, options.cacerts.as_ref())?;
            watch.note("istiod applied");
        }
        let coredns = ["-n", "kube-system", "deployment/coredns"];
        self.kubectl
            .wait(&coredns, "condition=Available", PATIENCE)?;
        // Pods cannot be made before.
        let account = ["-n", "default", "serviceaccount/default"];
        self.kubectl.wait(&account, "create", PATIENCE)?;
        watch.note("CoreDNS ready");
        if options.istio == Istio::Installed {
            istio::wait(&self.kubectl)?;
            watch.note("istiod ready");
        }
        self.check()
    }

    fn wait_for_nodes(&self) -> Result<()> {
        let names: Vec<String> = (self.nodes.iter())
            .map(|node| format!("node/{}", node.name()))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let ready = self.kubectl.wait(&names, "condition=Ready", PATIENCE);
        // A program that has ended is the better explanation.
        self.check()?;
        ready
    }

    /// An error if a program has ended.
    pub(crate) fn check(&self) -> Result<()> {
        self.control.check()?;
        (self.nodes.iter()).try_for_each(|node| node.machine().check())
    }

    /// A node loses its power and comes up again: the runtime and the kubelet first, everything else as they find it.
    pub(crate) fn reboot(&self, node: &Node) -> Result<()> {
        node.crash()?;
        node.rewrite_network()?;
        node.start_runtime()?;
        node.wait_for_runtime()?;
        node.start_kubelet(&self.authority)
    }

    /// Kills the API server, and only it: what it has stored stays.
    pub(crate) fn kill_api(&self) -> Result<()> {
        self.control.kill("kube-apiserver")
    }

    /// Starts the API server again; it answers when this returns.
    pub(crate) fn start_api(&self) -> Result<()> {
        control::start_api_server(&self.control, &self.authority)?;
        control::wait_for_api(&self.control, &self.kubectl)
    }

    /// The key by which service accounts' tokens are signed.
    pub(crate) fn token_key(&self) -> PathBuf {
        self.authority.file("accounts.key")
    }

    /// Brings images to all nodes.
    pub(crate) fn import(&self, archives: &[PathBuf]) -> Result<()> {
        import(&self.nodes, archives)
    }

    /// Copies the logs to where they outlive the cluster, with what the API server knows.
    pub(crate) fn keep_logs(&self) -> Result<PathBuf> {
        let kept = keep_logs(&self.record)?;
        let asked: [(&str, &[&str]); 3] = [
            ("pods.txt", &["get", "pods", "-A", "-o", "wide"]),
            (
                "events.txt",
                &["get", "events", "-A", "--sort-by=.lastTimestamp"],
            ),
            ("described.txt", &["describe", "pods,nodes", "-A"]),
        ];
        for (name, arguments) in asked {
            let mut command = self.kubectl.client("kubectl");
            let command = command.args(arguments).arg("--request-timeout=5s");
            let text = e2e_netlab::run(command).unwrap_or_else(|error| format!("{error:#}"));
            std::fs::write(kept.join(name), text)?;
        }
        Ok(kept)
    }

    /// Makes the API server reachable from this machine.
    pub(crate) fn outside(&self) -> Result<Outside> {
        let target = (CONTROL, 6443).into();
        Outside::open(self.control.netns(), target, |server| {
            self.authority.kubeconfig_as("admin", "outside", server)
        })
    }

    /// Ends everything and removes it.
    pub(crate) fn end(&self) -> Result<()> {
        let mut machines = self.nodes.iter().map(Node::machine).chain([&self.control]);
        let ended = machines.try_for_each(Machine::end);
        // It finds what is left without us.
        sweep::remove(&self.record.name).and(ended)
    }
}

fn kubectl(control: &Machine, kubeconfig: PathBuf) -> Kubectl {
    let command = control.enter("x");
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let mut prefix: Vec<String> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    prefix.pop();
    Kubectl {
        prefix,
        path: crate::machine::PATH.to_owned(),
        kubeconfig,
    }
}

fn nodes(
    record: &mut ClusterRecord,
    programs: &Programs,
    options: &Options,
    control: &Machine,
) -> Result<Vec<Node>> {
    let places: Vec<Place> = (1..=u8::try_from(options.nodes.len())?)
        .map(Place)
        .collect();
    let mut nodes = Vec::new();
    for (name, place) in options.nodes.iter().zip(&places) {
        let machine = Machine::start(record, name, &programs.peers)?;
        control::plug_in(control, &machine)?;
        let cluster = record.name.clone();
        nodes.push(Node::prepare(machine, *place, &cluster, programs, &places)?);
    }
    control::route(control, &places)?;
    Ok(nodes)
}

/// Brings images to nodes, to all at once.
fn import(nodes: &[Node], archives: &[PathBuf]) -> Result<()> {
    thread::scope(|scope| {
        let all: Vec<_> = nodes
            .iter()
            .map(|node| {
                scope.spawn(|| {
                    node.wait_for_runtime()?;
                    archives.iter().try_for_each(|one| node.import_image(one))
                })
            })
            .collect();
        all.into_iter()
            .try_for_each(|one| one.join().map_err(|_| anyhow!("an import panicked"))?)
    })
}

/// Copies a cluster's logs to `AMBIENT_CLUSTER_LOGS`, or below the directory for temporary files.
fn keep_logs(record: &ClusterRecord) -> Result<PathBuf> {
    let place = std::env::var_os("AMBIENT_CLUSTER_LOGS").map_or_else(
        || std::env::temp_dir().join("ambient-cluster-logs"),
        PathBuf::from,
    );
    let kept = place.join(&record.name);
    for machine in &record.machines {
        let log = record.directory()?.join(&machine.name).join("log");
        copy(&log, &kept.join(&machine.name))?;
    }
    Ok(kept)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
