//! Where a node's container runtime looks for plugins and their configuration, by kind of node.

use std::path::{Path, PathBuf};

use crate::choices::choice;
use crate::kinds::{Kind, name_of};
use crate::table::Settings;
use serde_json::Value;

choice! {
    /// The kind of node, by its container runtime or distribution.
    CniProfile {
        /// containerd as distributions ship it; also EKS and AKS.
        Containerd = "containerd",
        /// CRI-O.
        Crio = "crio",
        /// k3s, which brings a containerd of its own.
        K3s = "k3s",
        /// k3s in a container.
        K3d = "k3d",
        /// Google's managed nodes, whose system directories cannot be written.
        Gke = "gke",
        /// `OpenShift`: CRI-O behind Multus.
        Openshift = "openshift",
        /// `MicroK8s`, all of it below a snap's directory.
        Microk8s = "microk8s",
        /// minikube.
        Minikube = "minikube",
        /// kind.
        Kind = "kind",
    }
}

choice! {
    /// How the runtime is brought to run the plugin.
    CniMode {
        /// A list of our own, which the runtime finds first: the primary plugin's and ours.
        Owned = "owned",
        /// Our entry is put into the primary plugin's list.
        Chained = "chained",
        /// A configuration with our plugin alone, for whoever asks for it by name.
        Standalone = "standalone",
    }
}

/// What a kind of node is known to need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CniFacts {
    /// The profile.
    pub profile: CniProfile,
    /// Where the runtime looks for configuration: containerd's `conf_dir`, CRI-O's `network_dir`.
    pub conf_dir: &'static str,
    /// Where it looks for plugins, and ours goes: containerd's `bin_dir` or the first of its
    /// `bin_dirs`, CRI-O's `plugin_dirs`.
    pub bin_dirs: &'static [&'static str],
    /// How the runtime is brought to run the plugin.
    pub mode: CniMode,
}

const ETC: &str = "/etc/cni/net.d";
const OPT: &[&str] = &["/opt/cni/bin"];
const K3S_CONF: &str = "/var/lib/rancher/k3s/agent/etc/cni/net.d";

/// One row per profile. Where a node keeps network namespaces does not matter here: the plugin
/// hands them over as descriptors.
#[rustfmt::skip]
const FACTS: [CniFacts; 9] = [
    CniFacts { profile: CniProfile::Containerd, conf_dir: ETC, bin_dirs: OPT, mode: CniMode::Owned },
    CniFacts { profile: CniProfile::Crio, conf_dir: ETC, bin_dirs: OPT, mode: CniMode::Owned },
    CniFacts { profile: CniProfile::K3s, conf_dir: K3S_CONF, bin_dirs: &["/var/lib/rancher/k3s/data/cni"], mode: CniMode::Owned },
    CniFacts { profile: CniProfile::K3d, conf_dir: K3S_CONF, bin_dirs: &["/bin"], mode: CniMode::Owned },
    CniFacts { profile: CniProfile::Gke, conf_dir: ETC, bin_dirs: &["/home/kubernetes/bin"], mode: CniMode::Owned },
    // Multus takes its own list for the node's; other plugins are asked for by name.
    CniFacts { profile: CniProfile::Openshift, conf_dir: "/etc/cni/multus/net.d", bin_dirs: &["/var/lib/cni/bin"], mode: CniMode::Standalone },
    CniFacts { profile: CniProfile::Microk8s, conf_dir: "/var/snap/microk8s/current/args/cni-network", bin_dirs: &["/var/snap/microk8s/current/opt/cni/bin"], mode: CniMode::Owned },
    CniFacts { profile: CniProfile::Minikube, conf_dir: ETC, bin_dirs: OPT, mode: CniMode::Owned },
    CniFacts { profile: CniProfile::Kind, conf_dir: ETC, bin_dirs: OPT, mode: CniMode::Owned },
];

impl CniProfile {
    /// Every profile with what it stands for.
    #[must_use]
    pub const fn all() -> &'static [CniFacts] {
        &FACTS
    }

    /// What it stands for.
    #[must_use]
    pub fn facts(self) -> &'static CniFacts {
        let row = FACTS.iter().find(|row| row.profile == self);
        row.unwrap_or(&FACTS[0])
    }
}

/// Directories, as one path or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths(pub Vec<PathBuf>);

impl Kind for Paths {
    const NAME: &'static str = "path or list of paths";

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(_) => Ok(Self(vec![PathBuf::read(value)?])),
            Value::Array(items) if !items.is_empty() => items
                .iter()
                .map(PathBuf::read)
                .collect::<Result<_, _>>()
                .map(Self),
            other => Err(format!(
                "expected an absolute path or several, found {}",
                name_of(other)
            )),
        }
    }
}

impl Settings {
    /// How the runtime is brought to run the plugin: as set, or as the profile says.
    #[must_use]
    pub fn cni_mode_in_force(&self) -> CniMode {
        self.cni_mode.unwrap_or(self.cni_profile.facts().mode)
    }

    /// Where the runtime looks for configuration, as the host names it.
    #[must_use]
    pub fn cni_conf_dir_in_force(&self) -> &Path {
        let facts = self.cni_profile.facts();
        self.cni_conf_dir
            .as_deref()
            .unwrap_or(Path::new(facts.conf_dir))
    }

    /// Where the plugin goes, as the host names it.
    #[must_use]
    pub fn cni_bin_dirs_in_force(&self) -> Vec<PathBuf> {
        if let Some(Paths(paths)) = &self.cni_bin_dir {
            return paths.clone();
        }
        let known = self.cni_profile.facts().bin_dirs;
        known.iter().map(PathBuf::from).collect()
    }

    /// The file that is ours alone, in the modes that have one.
    #[must_use]
    pub fn cni_conflist_name_in_force(&self) -> &str {
        let name = self.cni_conflist_name.as_deref();
        name.unwrap_or(match self.cni_mode_in_force() {
            CniMode::Standalone => STANDALONE_NAME,
            CniMode::Owned | CniMode::Chained => OWNED_CONFLIST,
        })
    }
}

/// What the file is called in owned mode: it sorts before what primary plugins write.
pub const OWNED_CONFLIST: &str = "02-ambient.conflist";
/// Sorts behind it: a runtime that takes the first file must not take this one.
const STANDALONE_NAME: &str = "zzz-ambient-cni.conf";
