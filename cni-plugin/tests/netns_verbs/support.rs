//! Calling the shipped binary as a runtime does, and a pod's namespace.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
pub(crate) const VERBS: [&str; 6] = ["ADD", "DEL", "CHECK", "VERSION", "GC", "STATUS"];

/// Odd on purpose: spacing, unknown members, a repeated one, numbers that do not survive parsing.
pub(crate) const PREV_RESULT: &str = r#"{ "interfaces":[{"name":"eth0","sandbox":"/x","mtu":1450}],
  "ips":[{"version":"4","address":"10.9.0.7/24","interface":0},{"version":"6","address":"fd09::7/64","interface":0}],
  "routes":[{"dst":"0.0.0.0/0","mtu":1e3}], "dns":{}, "later":{"a":1.50,"a":2, "z":"\u0041\/"} }"#;

/// One call of the plugin, as a runtime makes it.
#[derive(Clone)]
pub(crate) struct Call {
    env: BTreeMap<&'static str, String>,
    stdin: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Call {
    /// A complete and correct call about a pod of namespace `shop`.
    pub(crate) fn new(verb: &str, netns: &Path, config: &str) -> Self {
        let args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=uid-1";
        let env = BTreeMap::from([
            ("CNI_COMMAND", verb.to_owned()),
            ("CNI_CONTAINERID", "c0ffee".to_owned()),
            ("CNI_NETNS", netns.display().to_string()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_ARGS", args.to_owned()),
            ("CNI_PATH", "/opt/cni/bin".to_owned()),
        ]);
        Self {
            env,
            stdin: config.as_bytes().to_vec(),
        }
    }

    pub(crate) fn env(mut self, name: &'static str, value: &str) -> Self {
        self.env.insert(name, value.to_owned());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    pub(crate) fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = bytes.to_vec();
        self
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ambient-cni"));
        command
            .env_clear()
            .envs(&self.env)
            .env("PATH", std::env::var_os("PATH").unwrap());
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self) -> Ran {
        let began = Instant::now();
        let mut child = self.command().spawn().unwrap();
        // The plugin may refuse before it has read everything.
        drop(child.stdin.take().unwrap().write_all(&self.stdin));
        let Output {
            status,
            stdout,
            stderr,
        } = child.wait_with_output().unwrap();
        Ran {
            exit: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
            took: began.elapsed(),
        }
    }
}

impl Ran {
    /// The document on standard output.
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a failed call; its answer must have the specification's shape.
    pub(crate) fn code(&self) -> Option<u64> {
        if self.exit == Some(0) {
            return None;
        }
        assert_eq!(self.exit, Some(1), "{self:?}");
        let document = self.document();
        for member in ["cniVersion", "msg"] {
            assert!(
                document[member]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{self:?}"
            );
        }
        document["code"].as_u64()
    }

    /// What the operator reads.
    pub(crate) fn told(&self) -> String {
        let document = self.document();
        format!("{} | {}", document["msg"], document["details"])
    }

    pub(crate) fn succeeds_silently(&self) -> &Self {
        assert_eq!((self.exit, self.stdout.as_str()), (Some(0), ""), "{self:?}");
        self
    }
}

/// A network configuration with everything that any verb needs.
pub(crate) fn config(version: &str, socket: &Path) -> String {
    config_with(version, socket, &json!({}))
}

/// The same with more members, or other values.
pub(crate) fn config_with(version: &str, socket: &Path, more: &Value) -> String {
    let mut members = json!({
        "cniVersion": version,
        "name": "pod-network",
        "type": "ambient-cni",
        "agent_socket": socket,
        "deadline_ms": 4000,
        "exclude_namespaces": ["kube-system"],
        "agent_namespace": "mesh",
        "agent_pod_prefix": "agent-",
        "cni.dev/valid-attachments": [{"containerID": "c0ffee", "ifname": "eth0"}],
    });
    for (name, value) in more.as_object().unwrap() {
        members[name] = value.clone();
    }
    // Kept as text: parsing it would lose what the test is about.
    let text = members.to_string();
    format!(
        "{},\"prevResult\":{PREV_RESULT}}}",
        text.strip_suffix('}').unwrap()
    )
}

/// A network namespace of its own, held by a thread.
pub(crate) struct PodNetns {
    pub(crate) path: PathBuf,
    release: Option<mpsc::Sender<()>>,
    holder: Option<JoinHandle<()>>,
}

impl PodNetns {
    /// Needs root, like the plugin itself.
    pub(crate) fn new() -> Self {
        let (tell, told) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let holder = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("run these as root");
            tell.send(nix::unistd::gettid()).unwrap();
            assert!(released.recv().is_err(), "released by dropping the sender");
        });
        let thread = told
            .recv()
            .expect("a network namespace is needed: run these tests as root");
        let path = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
        Self {
            path: path.into(),
            release: Some(release),
            holder: Some(holder),
        }
    }

    /// What is ours in it: rules of both families and backends, and routing rules.
    pub(crate) fn residue(&self) -> Vec<String> {
        let netns = node_agent_namespace::Netns::open(&self.path).unwrap();
        node_agent_namespace::enter(&netns, || {
            let mut found = Vec::new();
            for (program, arguments, ours) in [
                ("iptables-nft-save", &[][..], "ISTIO"),
                ("ip6tables-nft-save", &[], "ISTIO"),
                ("iptables-legacy-save", &[], "ISTIO"),
                ("ip6tables-legacy-save", &[], "ISTIO"),
                ("ip", &["rule", "list"][..], "0x111"),
                ("ip", &["-6", "rule", "list"], "0x111"),
            ] {
                let output = Command::new(program).args(arguments).output().unwrap();
                assert!(output.status.success(), "{program}: {output:?}");
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                found.extend(
                    text.lines()
                        .filter(|line| line.contains(ours))
                        .map(str::to_owned),
                );
            }
            found
        })
        .unwrap()
    }
}

impl Drop for PodNetns {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(holder) = self.holder.take() {
            drop(holder.join());
        }
    }
}
