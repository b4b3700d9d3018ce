//! Named network namespaces, and doing something inside one.

use crate::command::{program, run};
use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

/// Where `ip netns` keeps its names.
pub(crate) const NAMES: &str = "/run/netns";

/// A network namespace with a name of ours.
#[derive(Clone, Debug)]
pub struct Netns {
    name: String,
    path: PathBuf,
}

impl Netns {
    /// Makes one, with its loopback up.
    pub(crate) fn create(name: &str) -> Result<Self> {
        run(program("ip").args(["netns", "add", name]))?;
        let netns = Self {
            name: name.to_owned(),
            path: Path::new(NAMES).join(name),
        };
        run(program("ip").args(["-n", name, "link", "set", "lo", "up"]))?;
        Ok(netns)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A program started in it. Only the network differs: `ip netns exec` would also hide the cgroup mounts.
    #[must_use]
    pub fn command(&self, name: impl AsRef<OsStr>) -> Command {
        let mut command = program("nsenter");
        command
            .arg(format!("--net={}", self.path.display()))
            .arg("--")
            .arg(name);
        command
    }

    /// Sets a sysctl under `net`, such as `ipv4/ip_forward`.
    pub(crate) fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        inside(&self.path, || {
            let file = Path::new("/proc/sys/net").join(key);
            std::fs::write(&file, value).with_context(|| format!("writing {}", file.display()))
        })?
    }
}

/// Does something in a network namespace, on a thread of its own that ends with it: no way back is needed.
///
/// # Errors
/// The namespace cannot be entered, or `work` panicked.
pub fn inside<T: Send>(path: &Path, work: impl FnOnce() -> T + Send) -> Result<T> {
    let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
    thread::scope(|scope| {
        scope
            .spawn(|| {
                setns(&file, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("entering {}", path.display()))?;
                Ok(work())
            })
            .join()
            .map_err(|_| anyhow!("the work in {} panicked", path.display()))?
    })
}

/// The inode that identifies the namespace behind a path.
pub(crate) fn inode(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path)
        .with_context(|| format!("looking at {}", path.display()))?
        .ino())
}
