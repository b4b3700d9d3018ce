#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use node_agent_settings::{CniFacts, CniProfile};
use serde_json::json;

use super::*;
use crate::document::Document;
use crate::testing::settings;
use crate::uninstall;

mod interrupted;
mod profiles;

const CALICO: &str = include_str!("../../tests/lists/10-calico.conflist");
const BRIDGE: &str = "{ \"type\": \"bridge\",\n\t\"name\": \"b\", \"cniVersion\": \"0.4.0\" }\n";

/// A node's file system below a directory.
struct Node {
    root: tempfile::TempDir,
    facts: CniFacts,
    mode: CniMode,
}

/// Everything in a directory: content, mode, and where it leads to if it is a link.
type Contents = BTreeMap<String, (String, u32)>;

impl Node {
    fn new(facts: CniFacts, mode: CniMode, files: &[(&str, &str)]) -> Self {
        // Where it is there, in memory: every step flushes.
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let node = Self { root, facts, mode };
        fs::create_dir_all(node.conf()).unwrap();
        for bin in node.bins() {
            fs::create_dir_all(bin).unwrap();
        }
        fs::create_dir(node.root.path().join("image")).unwrap();
        node.image("version one");
        for (name, text) in files {
            node.write(name, text);
        }
        node
    }

    fn usual(mode: CniMode, files: &[(&str, &str)]) -> Self {
        Self::new(*CniProfile::Containerd.facts(), mode, files)
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn conf(&self) -> PathBuf {
        self.below(self.facts.conf_dir)
    }

    fn bins(&self) -> Vec<PathBuf> {
        self.facts
            .bin_dirs
            .iter()
            .map(|bin| self.below(bin))
            .collect()
    }

    fn program(&self) -> PathBuf {
        self.bins()[0].join(PLUGIN)
    }

    fn image(&self, content: &str) {
        fs::write(self.below("image/ambient-cni"), content).unwrap();
    }

    /// As a primary plugin writes it: settled long ago.
    fn write(&self, name: &str, text: &str) {
        let path = self.conf().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        File::open(&path).unwrap().set_modified(long_ago).unwrap();
    }

    fn settings(&self) -> Settings {
        let profile = match self.facts.profile {
            CniProfile::Containerd => "containerd",
            CniProfile::Crio => "crio",
            CniProfile::K3s => "k3s",
            CniProfile::K3d => "k3d",
            CniProfile::Gke => "gke",
            CniProfile::Openshift => "openshift",
            CniProfile::Microk8s => "microk8s",
            CniProfile::Minikube => "minikube",
            CniProfile::Kind => "kind",
        };
        let mode = match self.mode {
            CniMode::Owned => "owned",
            CniMode::Chained => "chained",
            CniMode::Standalone => "standalone",
        };
        settings(&json!({
            "cniProfile": profile, "cniMode": mode, "cniHostRoot": self.root.path(),
            "cniStateDir": self.below("state"),
            "cniPluginProgram": self.below("image/ambient-cni"),
        }))
    }

    fn installer(&self) -> Installer {
        Installer::open(&self.settings(), Path::new("/nowhere")).unwrap()
    }

    fn install(&self) -> Result<Pass, InstallError> {
        self.installer().pass()
    }

    fn uninstall(&self) {
        uninstall(&self.settings()).unwrap();
    }

    fn contents(directory: &Path) -> Contents {
        let entries = fs::read_dir(directory).into_iter().flatten();
        entries
            .map(|entry| {
                let path = entry.unwrap().path();
                let found = fs::symlink_metadata(&path).unwrap();
                let content = if found.is_symlink() {
                    format!("-> {}", fs::read_link(&path).unwrap().display())
                } else {
                    String::from_utf8(fs::read(&path).unwrap()).unwrap()
                };
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, (content, found.mode() & 0o7777))
            })
            .collect()
    }

    /// All that an installer may touch.
    fn all(&self) -> Vec<Contents> {
        let mut all = vec![Self::contents(&self.conf())];
        all.extend(self.bins().iter().map(|bin| Self::contents(bin)));
        all
    }

    /// Whoever looks now finds only whole files, and the plugin wherever it is named.
    fn check_whole(&self) {
        let mut good = 0;
        for (name, (text, _)) in Self::contents(&self.conf()) {
            if !crate::choose::is_candidate(&name) || text == "junk" {
                continue;
            }
            let document = Document::read(&name, &text).unwrap_or_else(|why| {
                panic!("{name}: {why:?}: {text}");
            });
            good += 1;
            if document.names_us() {
                let program = fs::metadata(self.program()).unwrap();
                assert_eq!(program.mode() & 0o7777, 0o755);
                let content = fs::read_to_string(self.program()).unwrap();
                assert!(["version one", "version two"].contains(&content.as_str()));
            }
        }
        assert!(good > 0 || self.mode == CniMode::Standalone);
    }

    /// The text that a runtime would take first.
    fn first(&self) -> String {
        let contents = Self::contents(&self.conf());
        let good = contents
            .iter()
            .filter(|(name, _)| crate::choose::is_candidate(name))
            .find(|(name, (text, _))| Document::read(name, text).is_ok());
        good.unwrap().1.0.clone()
    }
}

#[test]
fn a_second_pass_touches_nothing() {
    for mode in [CniMode::Chained, CniMode::Owned, CniMode::Standalone] {
        let node = Node::usual(mode, &[("10-calico.conflist", CALICO)]);
        let mut installer = node.installer();
        assert!(!installer.pass().unwrap().changes.is_empty());
        let stamps = || -> Vec<_> {
            let paths = [node.conf(), node.bins()[0].clone(), node.below("state")];
            let inside = paths.iter().flat_map(|path| fs::read_dir(path).unwrap());
            inside
                .map(|entry| fs::metadata(entry.unwrap().path()).unwrap())
                .map(|found| (found.ino(), found.ctime(), found.ctime_nsec()))
                .collect()
        };
        let before = stamps();
        assert_eq!(installer.pass().unwrap().changes, []);
        assert_eq!(stamps(), before, "{mode:?}");
    }
}

#[test]
fn a_files_permissions_are_kept_and_ours_are_private() {
    let node = Node::usual(CniMode::Chained, &[("10-calico.conflist", CALICO)]);
    node.install().unwrap();
    assert_eq!(Node::contents(&node.conf())["10-calico.conflist"].1, 0o640);
    let node = Node::usual(CniMode::Owned, &[("10-calico.conflist", CALICO)]);
    node.install().unwrap();
    assert_eq!(Node::contents(&node.conf())["02-ambient.conflist"].1, 0o600);
    assert_eq!(
        Node::contents(&node.below("state"))["installed.json"].1,
        0o600
    );
}

#[test]
fn what_a_link_leads_to_is_changed_and_the_link_stays() {
    let node = Node::usual(CniMode::Chained, &[]);
    fs::create_dir_all(node.below("var/lib/primary")).unwrap();
    fs::write(node.below("var/lib/primary/list"), CALICO).unwrap();
    // Absolute, as the host sees it.
    symlink(
        "/var/lib/primary/list",
        node.conf().join("10-calico.conflist"),
    )
    .unwrap();
    let before = node.all();
    node.install().unwrap();
    assert_eq!(Node::contents(&node.conf()), before[0]);
    let text = fs::read_to_string(node.below("var/lib/primary/list")).unwrap();
    assert!(text.contains("ambient-cni"));
    assert!(
        node.installer()
            .directories()
            .contains(&node.below("var/lib/primary"))
    );
    node.uninstall();
    assert_eq!(node.all(), before);
    assert_eq!(
        fs::read_to_string(node.below("var/lib/primary/list")).unwrap(),
        CALICO
    );
}

#[test]
fn a_link_that_leads_out_of_sight_is_not_passed_over() {
    let node = Node::usual(CniMode::Owned, &[("20-bridge.conf", BRIDGE)]);
    symlink("/not/mounted", node.conf().join("10-calico.conflist")).unwrap();
    let before = Node::contents(&node.conf());
    let error = node.install().unwrap_err().to_string();
    assert!(error.contains("mount what it points to"), "{error}");
    assert_eq!(Node::contents(&node.conf()), before);
}

#[test]
fn a_node_that_is_laid_out_otherwise_is_said_with_what_to_do() {
    let node = Node::usual(CniMode::Owned, &[("10-calico.conflist", CALICO)]);
    fs::remove_dir(&node.bins()[0]).unwrap();
    let error = node.install().unwrap_err().to_string();
    assert!(
        error.contains("opt/cni/bin is not there: choose the cniProfile"),
        "{error}"
    );
    fs::create_dir(&node.bins()[0]).unwrap();
    fs::remove_file(node.below("image/ambient-cni")).unwrap();
    let error = node.install().unwrap_err().to_string();
    assert!(error.contains("see cniPluginProgram"), "{error}");
    node.image("version one");
    fs::remove_dir_all(node.conf()).unwrap();
    let error = node.install().unwrap_err().to_string();
    assert!(error.contains("or set cniConfDir"), "{error}");
}

#[test]
fn the_plugin_is_replaced_while_it_runs() {
    let node = Node::usual(CniMode::Chained, &[("10-calico.conflist", CALICO)]);
    let sleep = ["/bin/sleep", "/usr/bin/sleep"]
        .into_iter()
        .find(|p| Path::new(p).exists());
    fs::copy(sleep.unwrap(), node.below("image/ambient-cni")).unwrap();
    node.install().unwrap();
    let mut running = std::process::Command::new(node.program())
        .arg("60")
        .spawn()
        .unwrap();
    node.image("version two");
    node.install().unwrap();
    node.check_whole();
    assert_eq!(fs::read_to_string(node.program()).unwrap(), "version two");
    assert!(
        running.try_wait().unwrap().is_none(),
        "the old one was cut short"
    );
    running.kill().unwrap();
    running.wait().unwrap();
}

#[test]
fn a_plugin_that_cannot_be_executed_or_is_a_link_is_replaced() {
    let node = Node::usual(CniMode::Chained, &[("10-calico.conflist", CALICO)]);
    node.install().unwrap();
    let program = node.program();
    let repaired = || {
        node.install().unwrap();
        assert!(fs::symlink_metadata(&program).unwrap().is_file());
        node.check_whole();
    };
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    repaired();
    fs::write(&program, "version zero").unwrap();
    repaired();
    fs::remove_file(&program).unwrap();
    symlink("/bin/true", &program).unwrap();
    repaired();
}

#[test]
fn of_two_installers_the_later_one_has_its_way() {
    let node = Node::usual(CniMode::Chained, &[("10-calico.conflist", CALICO)]);
    let mut earlier = node.installer();
    earlier.pass().unwrap();
    let mut later = node.installer();
    later.pass().unwrap();
    node.write("10-calico.conflist", CALICO);
    assert!(matches!(earlier.pass(), Err(InstallError::Superseded)));
    assert_eq!(later.pass().unwrap().changes.len(), 1);
    // An uninstall waits for both to be gone.
    let busy = uninstall(&node.settings()).unwrap_err();
    assert!(matches!(busy, InstallError::Busy));
    drop((earlier, later));
    node.uninstall();
}

#[test]
fn a_record_that_is_damaged_is_set_aside() {
    let node = Node::usual(CniMode::Chained, &[("10-calico.conflist", CALICO)]);
    let before = node.all();
    node.install().unwrap();
    fs::write(node.below("state/installed.json"), "{\"format").unwrap();
    node.install().unwrap();
    assert!(node.below("state/installed.json.damaged").exists());
    node.uninstall();
    assert_eq!(node.all(), before);
}

#[test]
fn the_record_is_gone_and_an_uninstall_still_works() {
    for mode in [CniMode::Chained, CniMode::Owned, CniMode::Standalone] {
        let node = Node::usual(mode, &[("10-calico.conflist", CALICO)]);
        let before = node.all();
        node.install().unwrap();
        fs::remove_dir_all(node.below("state")).unwrap();
        node.uninstall();
        assert_eq!(node.all(), before, "{mode:?}");
        assert!(!node.below("state").exists());
        node.uninstall();
        assert_eq!(node.all(), before);
    }
}

#[test]
fn an_uninstall_that_cannot_see_a_directory_keeps_the_plugin() {
    let node = Node::usual(CniMode::Chained, &[("10-calico.conflist", CALICO)]);
    node.install().unwrap();
    fs::rename(node.conf(), node.below("elsewhere")).unwrap();
    let error = uninstall(&node.settings()).unwrap_err();
    assert!(matches!(error, InstallError::Missing { .. }), "{error}");
    assert!(node.program().exists());
}
