//! Disks that are full or read-only, which only root can make.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use node_agent_installer::{InstallError, Installer, uninstall};
use node_agent_settings::Settings;
use serde_json::json;

const CALICO: &str = include_str!("lists/10-calico.conflist");

/// Stands on a disk instead of what others would write.
const BALLAST: &str = "ballast";

/// A small disk of its own, for one of the directories of a node.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: &Path) -> Self {
        let none: Option<&str> = None;
        let options = Some("size=64k");
        mount(none, path, Some("tmpfs"), MsFlags::empty(), options)
            .expect("these tests mount file systems and need root");
        Self(path.to_owned())
    }

    /// Leaves no room for another byte.
    fn fill(&self) {
        let mut ballast = fs::File::create(self.0.join(BALLAST)).unwrap();
        while ballast.write_all(&[b'x'; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join(BALLAST)).unwrap();
    }

    fn writable(&self, writable: bool) {
        let none: Option<&str> = None;
        let flags = if writable {
            MsFlags::MS_REMOUNT
        } else {
            MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY
        };
        mount(none, &self.0, none, flags, none).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _gone_with_the_machine = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

struct Node {
    root: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let node = Self {
            root: tempfile::tempdir().unwrap(),
        };
        for directory in ["etc/cni/net.d", "opt/cni/bin", "state", "image"] {
            fs::create_dir_all(node.below(directory)).unwrap();
        }
        fs::write(node.below("image/ambient-cni"), vec![b'p'; 16 << 10]).unwrap();
        node
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn settings(&self, mode: &str) -> Settings {
        let document = json!({
            "node": "node-a", "podsFile": "/p", "meshFile": "/m", "development": true,
            "developmentCaCert": "/c", "developmentCaKey": "/k",
            "cniMode": mode, "cniHostRoot": self.root.path(), "cniStateDir": self.below("state"),
            "cniPluginProgram": self.below("image/ambient-cni"),
        });
        Settings::from_document(&document).unwrap()
    }

    fn install(&self, mode: &str) -> Result<(), InstallError> {
        let mut installer = Installer::open(&self.settings(mode), Path::new("/nowhere"))?;
        installer.pass().map(drop)
    }

    /// Everything but the ballast.
    fn files(&self, directory: &str) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.below(directory)).unwrap();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, fs::read(entry.path()).unwrap())
            })
            .filter(|(name, _)| name != BALLAST)
            .collect();
        files.sort();
        files
    }
}

/// Each directory in turn is the one that is full.
#[test]
fn a_full_disk_leaves_every_file_whole_and_is_gone_on_with() {
    for mode in ["owned", "chained"] {
        for full in ["etc/cni/net.d", "opt/cni/bin", "state"] {
            let node = Node::new();
            let disk = Disk::mount(&node.below(full));
            fs::write(node.below("etc/cni/net.d/10-calico.conflist"), CALICO).unwrap();
            disk.fill();
            let error = node.install(mode).unwrap_err().to_string();
            assert!(error.contains("free some space"), "{full}: {error}");
            let lists = node.files("etc/cni/net.d");
            assert_eq!(lists, [("10-calico.conflist".to_owned(), CALICO.into())]);
            let program = node.files("opt/cni/bin");
            assert!(program.iter().all(|(_, bytes)| bytes.len() == 16 << 10));
            if full == "state" {
                assert!(node.files(full).is_empty() && program.is_empty());
            }
            disk.free();
            node.install(mode).unwrap();
            assert!(!node.files("opt/cni/bin").is_empty());
            uninstall(&node.settings(mode)).unwrap();
            assert_eq!(node.files("etc/cni/net.d"), lists, "{mode} {full}");
            assert!(node.files("opt/cni/bin").is_empty());
        }
    }
}

/// An uninstall needs room only for what it gives back.
#[test]
fn an_uninstall_on_a_full_disk_keeps_the_plugin_until_it_is_named_no_more() {
    let node = Node::new();
    let disk = Disk::mount(&node.below("etc/cni/net.d"));
    fs::write(node.below("etc/cni/net.d/10-calico.conflist"), CALICO).unwrap();
    node.install("chained").unwrap();
    disk.fill();
    let error = uninstall(&node.settings("chained"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("free some space"), "{error}");
    assert_eq!(node.files("opt/cni/bin").len(), 1);
    assert_eq!(node.files("etc/cni/net.d").len(), 1);
    disk.free();
    uninstall(&node.settings("chained")).unwrap();
    let lists = node.files("etc/cni/net.d");
    assert_eq!(lists, [("10-calico.conflist".to_owned(), CALICO.into())]);
    assert!(node.files("opt/cni/bin").is_empty());
}

#[test]
fn a_directory_that_cannot_be_written_is_said_with_what_to_do() {
    for locked in ["etc/cni/net.d", "opt/cni/bin"] {
        let node = Node::new();
        let disk = Disk::mount(&node.below(locked));
        fs::write(node.below("etc/cni/net.d/10-calico.conflist"), CALICO).unwrap();
        disk.writable(false);
        let error = node.install("owned").unwrap_err().to_string();
        assert!(error.contains("choose the cniProfile"), "{locked}: {error}");
        assert_eq!(node.files("etc/cni/net.d").len(), 1);
        disk.writable(true);
        node.install("owned").unwrap();
        assert_eq!(node.files("etc/cni/net.d").len(), 2);
    }
}
