//! A node: a machine with containerd, kubelet and kube-proxy.

mod configuration;
mod runc;

use crate::addresses::Place;
use crate::certificates::{Authority, Subject};
use crate::control;
use crate::machine::Machine;
use crate::programs::Programs;
use anyhow::{Context, Result};
use e2e_netlab::{empty_cgroup, run, wait};
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);
/// Plugins of the pods' network.
const PLUGINS: [&str; 4] = ["ptp", "host-local", "loopback", "portmap"];

/// A running node.
#[derive(Debug)]
pub struct Node {
    machine: Machine,
    place: Place,
    cgroup: String,
}

impl Node {
    /// Makes a node's files and network, without starting anything.
    pub(crate) fn prepare(
        machine: Machine,
        place: Place,
        cluster: &str,
        programs: &Programs,
        others: &[Place],
    ) -> Result<Self> {
        let mut script = format!("addr add {}/24 dev eth0\nlink set eth0 up\n", place.node());
        for other in others.iter().filter(|other| **other != place) {
            writeln!(script, "route add {} via {}", other.pods(), other.node())?;
        }
        // Pods reach the control plane, and through it nothing else: there is no way out of a cluster.
        writeln!(
            script,
            "route add default via {}",
            crate::addresses::CONTROL
        )?;
        machine.ip(&script)?;
        let cgroup = format!("{cluster}-{}", machine.name());
        make_cgroups(&cgroup)?;
        let node = Self {
            machine,
            place,
            cgroup,
        };
        for plugin in PLUGINS {
            run(node
                .enter("cp")
                .arg(format!("/opt/peers/{plugin}"))
                .arg("/opt/cni/bin/"))
            .with_context(|| format!("{plugin} is in none of {:?}", programs.peers))?;
        }
        node.write(
            "10-pods.conflist",
            &configuration::network(place).to_string(),
        )?;
        node.rewrite_network()?;
        Ok(node)
    }

    /// Starts the runtime; it answers a moment later.
    pub(crate) fn start_runtime(&self) -> Result<()> {
        let wrapper = runc::wrapper()?
            .map(|text| self.write_program("runc", text))
            .transpose()?;
        let text = configuration::runtime(wrapper.as_deref());
        let file = self.write("containerd.toml", &text)?;
        let mut command = self.enter("containerd");
        command.arg("--config").arg(file);
        self.machine.daemon("containerd", &mut command)
    }

    /// Waits for the runtime's answer.
    pub(crate) fn wait_for_runtime(&self) -> Result<()> {
        wait::until("containerd answers", PATIENCE, || {
            self.machine.check()?;
            run(self.enter("ctr").arg("version")).map(drop)
        })
    }

    /// Starts what makes the machine a node.
    pub(crate) fn start_kubelet(&self, authority: &Authority) -> Result<()> {
        let name = self.name();
        authority.issue(Subject {
            file: name,
            user: &format!("system:node:{name}"),
            group: "system:nodes",
            hosts: vec![name.to_owned(), self.place.node().to_string()],
        })?;
        let kubeconfig = authority.kubeconfig(name, &control::server())?;
        let file = |ending: &str| authority.file(&format!("{name}.{ending}"));
        let text = configuration::kubelet(&configuration::Kubelet {
            cgroup: &self.cgroup,
            authority: &authority.file("ca.crt"),
            certificate: &file("crt"),
            key: &file("key"),
        });
        let config = self.write("kubelet.json", &text.to_string())?;
        let mut command = self.enter("kubelet");
        command
            .arg(format!("--config={}", config.display()))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--hostname-override={name}"))
            .arg(format!("--node-ip={}", self.place.node()));
        self.machine.daemon("kubelet", &mut command)?;
        let text = configuration::proxy(name, &authority.file("proxy.kubeconfig"));
        let config = self.write("kube-proxy.json", &text.to_string())?;
        let mut command = self.enter("kube-proxy");
        command.arg(format!("--config={}", config.display()));
        self.machine.daemon("kube-proxy", &mut command)
    }

    /// What a power failure does to it: every process ends at once, and `/run`, the packet rules, the pods' network
    /// namespaces and cgroups are gone. Nothing is started again.
    pub(crate) fn crash(&self) -> Result<()> {
        self.machine.kill_all()?;
        empty_cgroup(&self.cgroup)?;
        run(self.enter("bash").args(["-c", CRASH, "crash"])).map(drop)
    }

    /// Puts the primary plugin's configuration there anew, as its own agent does when it starts.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn rewrite_network(&self) -> Result<()> {
        let list = self.file("10-pods.conflist");
        run(self.enter("cp").arg(list).arg("/etc/cni/net.d/")).map(drop)
    }

    /// Imports an image out of an archive, as `docker save` writes it.
    ///
    /// # Errors
    /// It cannot be read, or the runtime refuses it.
    pub fn import_image(&self, archive: &Path) -> Result<()> {
        let file = File::open(archive).with_context(|| archive.display().to_string())?;
        let mut command = self.enter("ctr");
        command.args(["--namespace", "k8s.io", "images", "import", "-"]);
        run(command.stdin(file)).map(drop)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.machine.name()
    }

    /// The machine it is.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// A program that runs on it, as if started there.
    #[must_use]
    pub fn enter(&self, name: &str) -> Command {
        self.machine.enter(name)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.machine.directory().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.file(name);
        std::fs::write(&file, text).with_context(|| file.display().to_string())?;
        Ok(file)
    }

    fn write_program(&self, name: &str, text: &str) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let file = self.write(name, text)?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
        Ok(file)
    }
}

/// What is below the cluster's directory is the harness's. The links of pods go with their namespaces.
const CRASH: &str = r#"set -eu
for place in $(grep -o ' /run/[^ ]*' /proc/self/mounts | grep -v ' /run/ambient-cluster' | sort -r); do
    # It may have gone with the one before; what is still mounted cannot be removed below.
    umount -l "$place" 2>/dev/null || true
done
find /run -mindepth 1 -maxdepth 1 ! -name ambient-cluster ! -name lock -exec rm -rf {} +
mkdir -p /run/netns
for table in nat filter mangle raw; do iptables -t $table -F; iptables -t $table -X; done
"#;

/// A node's own cgroup in every tree: else each of two kubelets on one kernel would remove the other's pods.
fn make_cgroups(name: &str) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        let controllers = std::fs::read_to_string(root.join("cgroup.controllers"))?;
        for controller in controllers.split_whitespace() {
            // One that cannot be handed down is missed by the kubelet, which says so.
            drop(std::fs::write(
                root.join("cgroup.subtree_control"),
                format!("+{controller}"),
            ));
        }
        return Ok(std::fs::create_dir_all(root.join(name))?);
    }
    for tree in std::fs::read_dir(root)? {
        let tree = tree?.path();
        // Links such as `cpu` to `cpu,cpuacct` lead to the same trees.
        if tree.is_symlink() || !tree.is_dir() || tree.ends_with("unified") {
            continue;
        }
        let group = tree.join(name);
        std::fs::create_dir_all(&group).with_context(|| group.display().to_string())?;
        // A set of processors is not inherited.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if group.join(file).exists() {
                std::fs::write(group.join(file), std::fs::read(tree.join(file))?)?;
            }
        }
    }
    Ok(())
}
