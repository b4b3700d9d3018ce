//! What a worker keeps for the holder that comes after the one which is gone.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use node_agent_handover::{FromPredecessor, Kept, Site};

/// A pod's namespace and listeners.
#[derive(Debug)]
struct KeptPod {
    netns: OwnedFd,
    listeners: Vec<OwnedFd>,
    ipv6: bool,
}

/// Everything that would be lost with the holder.
#[derive(Debug)]
pub(super) struct Store {
    plugin_path: PathBuf,
    plugin: Option<UnixListener>,
    sites: Vec<(Site, TcpListener)>,
    door: Option<OwnedFd>,
    pods: BTreeMap<String, KeptPod>,
}

impl Store {
    pub(super) fn new(plugin_path: PathBuf) -> Self {
        Self {
            plugin_path,
            plugin: None,
            sites: Vec::new(),
            door: None,
            pods: BTreeMap::new(),
        }
    }

    pub(super) fn plugin(&mut self, listener: UnixListener) {
        self.plugin = Some(listener);
    }

    pub(super) fn site(&mut self, site: Site, listener: TcpListener) {
        self.sites.retain(|(have, _)| *have != site);
        self.sites.push((site, listener));
    }

    pub(super) fn door(&mut self, door: OwnedFd) {
        self.door = Some(door);
    }

    /// Keeps a pod that was opened: duplicates of what is in use elsewhere.
    pub(super) fn pod(
        &mut self,
        pod: &str,
        netns: &OwnedFd,
        listeners: &[OwnedFd],
        ipv6: bool,
    ) -> io::Result<()> {
        let kept = KeptPod {
            netns: netns.try_clone()?,
            listeners: copies(listeners)?,
            ipv6,
        };
        self.pods.insert(pod.to_owned(), kept);
        Ok(())
    }

    pub(super) fn forget(&mut self, pod: &str) {
        self.pods.remove(pod);
    }

    /// All of it as messages of a version, for a holder that takes over.
    pub(super) fn messages(
        &self,
        version: u16,
    ) -> io::Result<Vec<(FromPredecessor, Vec<OwnedFd>)>> {
        let mut all = Vec::new();
        let mut add = |kept, fds| all.push((FromPredecessor::Kept(kept), fds));
        if let Some(plugin) = &self.plugin {
            let path = self.plugin_path.display().to_string();
            add(Kept::Plugin { path }, vec![copy(plugin)?]);
        }
        if version >= 2 {
            for (site, listener) in &self.sites {
                add(Kept::Site { site: *site }, vec![copy(listener)?]);
            }
        }
        if let Some(door) = &self.door {
            add(Kept::Door, vec![door.try_clone()?]);
        }
        for (pod, kept) in &self.pods {
            let mut fds = vec![kept.netns.try_clone()?];
            fds.extend(copies(&kept.listeners)?);
            let (pod, ipv6) = (pod.clone(), kept.ipv6);
            add(Kept::Pod { pod, ipv6 }, fds);
        }
        Ok(all)
    }
}

fn copy(fd: &impl AsFd) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}

fn copies(fds: &[OwnedFd]) -> io::Result<Vec<OwnedFd>> {
    fds.iter().map(OwnedFd::try_clone).collect()
}
