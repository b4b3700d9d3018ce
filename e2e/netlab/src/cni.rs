//! A node's CNI directory: the reference plugins, and ours chained behind the bridge.

use crate::topology::Place;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Where distributions put the reference plugins.
const REFERENCE: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// The two directories that a runtime is pointed at.
#[derive(Clone, Debug)]
pub(crate) struct Cni {
    pub(crate) binaries: PathBuf,
    pub(crate) configuration: PathBuf,
    data: PathBuf,
    place: Place,
}

impl Cni {
    /// Makes both below `directory`, with the reference plugins linked in.
    pub(crate) fn create(directory: &Path, place: Place) -> Result<Self> {
        let cni = Self {
            binaries: directory.join("bin"),
            configuration: directory.join("net.d"),
            data: directory.join("data"),
            place,
        };
        for made in [&cni.binaries, &cni.configuration, &cni.data] {
            std::fs::create_dir_all(made)?;
        }
        let reference = REFERENCE
            .iter()
            .map(Path::new)
            .find(|place| place.join("bridge").exists());
        let reference = reference.context("the reference CNI plugins are not installed")?;
        for plugin in ["bridge", "host-local", "loopback"] {
            symlink(reference.join(plugin), cni.binaries.join(plugin))?;
        }
        Ok(cni)
    }

    /// Links a plugin of ours in, under its own file name.
    pub(crate) fn add_plugin(&self, binary: &Path) -> Result<()> {
        let Some(name) = binary.file_name() else {
            bail!("{} is not a file", binary.display())
        };
        symlink(binary, self.binaries.join(name))?;
        Ok(())
    }

    /// Writes the network: the bridge, and `chained` plugins behind it. Replaced in one step, as the runtime watches.
    pub(crate) fn write(&self, chained: &[Value]) -> Result<()> {
        let mut plugins = vec![json!({
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "isDefaultGateway": true,
            "hairpinMode": false,
            "ipam": {
                "type": "host-local",
                "dataDir": self.data,
                "ranges": [[{"subnet": self.place.pods_ipv4()}], [{"subnet": self.place.pods_ipv6()}]],
            },
        })];
        plugins.extend_from_slice(chained);
        let list = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": plugins});
        let file = self.configuration.join("10-pods.conflist");
        let fresh = self.configuration.join(".10-pods.fresh");
        std::fs::write(&fresh, serde_json::to_vec_pretty(&list)?)?;
        std::fs::rename(&fresh, &file)?;
        Ok(())
    }
}
