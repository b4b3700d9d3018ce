//! The verbs `install` and `uninstall` of the program as built: killed at any time, under the eyes
//! of somebody who looks at every file all the while.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const LIST: &str = "{\n  \"name\": \"pods\", \"cniVersion\": \"1.0.0\",\n  \"plugins\": [\n    {\"type\": \"bridge\"}\n  ]\n}\n";
const SINGLE: &str = "{\"type\": \"bridge\", \"name\": \"pods\",\n \"cniVersion\": \"0.4.0\"}";
const ROUNDS: u32 = 40;
const PLUGIN_SIZE: usize = 2 << 20;

struct Node {
    root: tempfile::TempDir,
    mode: &'static str,
}

impl Node {
    fn new(mode: &'static str, (name, text): (&str, &str)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let node = Self { root, mode };
        for directory in ["etc/cni/net.d", "opt/cni/bin", "image"] {
            fs::create_dir_all(node.below(directory)).unwrap();
        }
        fs::write(node.below("image/ambient-cni"), vec![b'p'; PLUGIN_SIZE]).unwrap();
        fs::write(node.conf().join(name), text).unwrap();
        node.configure();
        node
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn conf(&self) -> PathBuf {
        self.below("etc/cni/net.d")
    }

    fn configure(&self) {
        let root = self.root.path().display();
        let mode = self.mode;
        let text = format!(
            "node: a\npodsFile: /p\nmeshFile: /m\ndevelopment: true\ndevelopmentCaCert: /c\n\
             developmentCaKey: /k\ncniMode: {mode}\ncniHostRoot: {root}\n\
             cniStateDir: {root}/state\ncniPluginProgram: {root}/image/ambient-cni\n"
        );
        fs::write(self.below("agent.yaml"), text).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ambient-agent"));
        command
            .args(words)
            .arg("--config")
            .arg(self.below("agent.yaml"));
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn start(&self) -> Child {
        self.command(&["install"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn succeeds(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let directories = [self.conf(), self.below("opt/cni/bin")];
        let entries = directories
            .iter()
            .flat_map(|dir| fs::read_dir(dir).unwrap());
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
            .collect();
        files.sort();
        files
    }

    fn installed(&self) -> bool {
        self.files().iter().any(|(path, text)| {
            !path.ends_with("/ambient-cni") && String::from_utf8_lossy(text).contains("ambient-cni")
        })
    }

    fn wait_until_installed(&self) {
        let began = Instant::now();
        while !self.installed() {
            assert!(began.elapsed() < Duration::from_secs(20), "not installed");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Looks at everything without a pause, as a runtime might at any time.
struct Looker {
    done: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Looker {
    fn start(node: &Node) -> Self {
        let (conf, plugin) = (node.conf(), node.below("opt/cni/bin/ambient-cni"));
        let done = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut looks = 0;
            while !theirs.load(Ordering::Relaxed) {
                look(&conf, &plugin);
                looks += 1;
            }
            looks
        });
        Self { done, thread }
    }

    fn stop(self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn look(conf: &Path, plugin: &Path) {
    let endings = [".conf", ".conflist", ".json"];
    let mut good = 0;
    for entry in fs::read_dir(conf).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        if !endings.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        // It may go between its name and its content.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let _whole: Value =
            serde_json::from_str(&text).unwrap_or_else(|why| panic!("{name}: {why}: {text:?}"));
        good += 1;
        if text.contains("ambient-cni") {
            let found = fs::metadata(plugin).unwrap();
            assert_eq!(found.permissions().mode() & 0o777, 0o755);
            assert_eq!(found.len(), PLUGIN_SIZE as u64);
        }
    }
    // Names are read one by one while files change places; then the next look finds one.
    if good == 0 {
        let mut left = fs::read_dir(conf).unwrap();
        assert!(left.next().is_some(), "nothing is left");
    }
}

#[test]
fn killed_at_any_time_nothing_is_ever_half_there() {
    for (mode, primary) in [
        ("owned", ("10-pods.conflist", LIST)),
        ("chained", ("10-pods.conflist", LIST)),
        ("chained", ("10-pods.conf", SINGLE)),
    ] {
        let node = Node::new(mode, primary);
        let before = node.files();
        let began = Instant::now();
        node.succeeds(&["install", "--once"]);
        let whole = began.elapsed();
        node.succeeds(&["uninstall"]);
        let mut cut_short = 0;
        for round in 0..ROUNDS {
            let looker = Looker::start(&node);
            let mut program = node.start();
            std::thread::sleep(whole * round * 2 / ROUNDS);
            program.kill().unwrap();
            program.wait().unwrap();
            cut_short += u32::from(!node.installed());
            looker.stop();
            node.succeeds(&["uninstall"]);
            assert_eq!(node.files(), before, "{mode} {round}");
        }
        // The delays are worth something only if some end before the work does, and some after.
        assert!(
            (1..ROUNDS).contains(&cut_short),
            "{mode}: {cut_short} cut short"
        );
        node.succeeds(&["install", "--once"]);
        assert!(node.installed());
    }
}

#[test]
fn what_is_installed_stays_at_a_signal_and_goes_with_an_uninstall() {
    let node = Node::new("owned", ("10-pods.conflist", LIST));
    let before = node.files();
    let program = node.start();
    node.wait_until_installed();
    let busy = node.run(&["uninstall"]);
    assert_eq!(busy.status.code(), Some(1));
    let said = String::from_utf8(busy.stderr).unwrap();
    assert!(said.contains("an installer runs on this node"), "{said}");
    kill(
        Pid::from_raw(program.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let output = program.wait_with_output().unwrap();
    assert!(output.status.success());
    let log = String::from_utf8(output.stdout).unwrap();
    for once in [
        "the plugin is installed",
        "our own configuration is written",
        "what is installed stays",
    ] {
        assert_eq!(log.matches(once).count(), 1, "{once}: {log}");
    }
    assert!(node.installed());
    let said = node.succeeds(&["uninstall"]);
    assert!(said.contains("the plugin is removed"), "{said}");
    assert_eq!(node.files(), before);
    assert_eq!(node.succeeds(&["uninstall"]), "nothing was installed\n");
}

#[test]
fn once_says_what_is_in_the_way() {
    let node = Node::new("chained", ("10-pods.conflist", &LIST[..20]));
    let output = node.run(&["install", "--once"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("waiting for the primary network plugin"),
        "{said}"
    );
    assert!(said.contains("passed over: 10-pods.conflist"), "{said}");
}
