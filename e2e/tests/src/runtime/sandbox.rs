//! A pod as far as CNI sees one: a network namespace and a name.

use crate::world::mesh_listeners;
use anyhow::{Context, Result};
use e2e_netlab::{Lab, find_program, inside, run};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A namespace for a pod; removed when dropped, and with its lab whatever happens.
#[derive(Debug)]
pub struct Sandbox {
    netns: String,
    path: PathBuf,
    /// The runtime's id.
    pub container: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
}

impl Sandbox {
    /// Makes one with its loopback up, as runtimes do.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn create(lab: &Lab, namespace: &str, name: &str) -> Result<Self> {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        // Names that begin like the lab's go with the lab, also after a crash.
        let netns = format!("{}-pod{serial}", lab.name());
        ip(&["netns", "add", &netns])?;
        let made = Self {
            path: Path::new("/run/netns").join(&netns),
            container: format!("container-{netns}"),
            netns,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        ip(&["-n", &made.netns, "link", "set", "lo", "up"])?;
        Ok(made)
    }

    /// The file that stands for its network namespace.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As runtimes put it into `CNI_ARGS`.
    #[must_use]
    pub fn args(&self) -> String {
        let Self {
            namespace,
            name,
            container,
            ..
        } = self;
        format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};\
             K8S_POD_INFRA_CONTAINER_ID={container};K8S_POD_UID=uid-{namespace}-{name}"
        )
    }

    /// Flushes a chain of ours, as a careless administrator would.
    ///
    /// # Errors
    /// There is no such chain.
    pub fn damage(&self) -> Result<()> {
        let program = find_program("iptables")?;
        let flush = || run(Command::new(program).args(["-w", "-t", "nat", "-F", "ISTIO_OUTPUT"]));
        inside(&self.path, flush)?.map(|_| ())
    }

    /// The lines of its packet rules, both families, that are ours.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn our_rules(&self) -> Result<Vec<String>> {
        our_rules(&self.path)
    }

    /// The mesh's ports that something listens on in it.
    ///
    /// # Errors
    /// The kernel's list cannot be read.
    pub fn listeners(&self) -> Result<Vec<u16>> {
        listeners(&self.path)
    }
}

/// The lines of a namespace's packet rules, both families, that are ours.
///
/// # Errors
/// They cannot be listed.
pub fn our_rules(netns: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for name in ["iptables-save", "ip6tables-save"] {
        let program = find_program(name)?;
        let text = inside(netns, || run(&mut Command::new(program)))?.context(name)?;
        found.extend(
            text.lines()
                .filter(|line| line.contains("ISTIO_"))
                .map(str::to_owned),
        );
    }
    Ok(found)
}

/// The mesh's ports that something listens on in a namespace.
///
/// # Errors
/// The kernel's list cannot be read.
pub fn listeners(netns: &Path) -> Result<Vec<u16>> {
    inside(netns, mesh_listeners)?
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Should this fail, the lab's removal tries again.
        drop(ip(&["netns", "delete", &self.netns]));
    }
}

fn ip(arguments: &[&str]) -> Result<String> {
    run(Command::new(find_program("ip")?).args(arguments))
}
