//! Through containerd 1.6, asked by CRI as the kubelet does.

use crate::{VERSIONS, cell, dashed, enrolled, judge, network, node, reference_plugins, stage};
use anyhow::{Result, bail};
use e2e_netlab::{Lab, Pod, PodSpec};
use e2e_tests::runtime::{MESHED, Seen, Spy, Table};
use e2e_tests::until;
use nix::sys::signal::Signal;

const NEVER: &[&str] = &["n/a", "n/a", "n/a", "n/a", "n/a"];
const ALWAYS: &[&str] = &["0", "0", "0", "0", "0"];
/// Its library cannot read a result of 1.1.0, so that its ADD ends with the bridge; DEL goes through.
const UNREADABLE: &str = "1.1.0";
const ROWS: [(&str, &[&str]); 10] = [
    ("VERSION", NEVER),
    ("STATUS", NEVER),
    ("CHECK", NEVER),
    ("GC", NEVER),
    ("ADD", &["0", "0", "0", "0", "n/a"]),
    (
        "ADD, pod unknown to the agent",
        &["100", "100", "100", "100", "n/a"],
    ),
    ("DEL", ALWAYS),
    ("DEL, again", ALWAYS),
    ("ADD, agent away", &["11", "11", "11", "11", "n/a"]),
    ("DEL, agent away", ALWAYS),
];

/// A containerd whose network is rewritten version by version.
struct Stage {
    lab: Lab,
    spy: Spy,
}

/// A pod that was asked for, and the calls of our plugin that this led to.
type Asked = (Result<Pod>, Vec<Seen>);

impl Stage {
    fn set() -> Self {
        let lab = stage();
        let (plugins, _) = node(&lab).cni_directories();
        reference_plugins(plugins).unwrap();
        let ours = e2e_tests::programs::ours("ambient-cni").unwrap();
        let spy = Spy::install(plugins, &ours).unwrap();
        Self { lab, spy }
    }

    fn configure(&self, version: &str) {
        let network = network(&self.lab, "containerd", version);
        let (_, lists) = node(&self.lab).cni_directories();
        let fresh = lists.join(".fresh");
        std::fs::write(&fresh, network.list().to_string()).unwrap();
        std::fs::rename(&fresh, lists.join("10-pods.conflist")).unwrap();
    }

    /// What our plugin was asked while something was done.
    fn calls_during<T>(&self, act: impl FnOnce() -> T) -> (T, Vec<Seen>) {
        let skip = self.spy.calls().unwrap().len();
        let done = act();
        (done, self.spy.calls().unwrap().split_off(skip))
    }

    /// Asks for a pod in a version. The runtime notices a new configuration by and by; what it still did by the old one
    /// is taken back and asked for again.
    fn ask(&self, version: &str, part: &str, of: &str) -> Asked {
        self.configure(version);
        let spec = PodSpec::idle(MESHED, &format!("{part}-{}", dashed(of)));
        until("the runtime works by the new configuration", || {
            let (pod, calls) = self.calls_during(|| node(&self.lab).run_pod(&spec));
            if !calls.is_empty() && calls.iter().all(|call| call.version == version) {
                return Ok((pod, calls));
            }
            pod?.remove()?;
            bail!("its calls: {calls:?}")
        })
        .unwrap()
    }

    /// A running pod of a version, or of the newest that the runtime can read.
    fn made(&self, part: &str, version: &str) -> (Pod, Vec<Seen>) {
        let readable = if version == UNREADABLE {
            "1.0.0"
        } else {
            version
        };
        let (pod, calls) = self.ask(readable, part, version);
        let pod = pod.unwrap();
        assert!(enrolled(&self.lab, &pod.spec().name));
        (pod, calls)
    }
}

#[test]
fn containerd() {
    let stage = Stage::set();
    let runtime = node(&stage.lab).cri().version().unwrap();
    assert!(
        runtime.runtime_version.starts_with("1.6."),
        "the table is that of containerd 1.6: {runtime:?}"
    );
    let title = format!(
        "{} {} through CRI",
        runtime.runtime_name, runtime.runtime_version
    );
    let mut table = Table::new(&title, &VERSIONS, &ROWS);
    let left: Vec<Pod> = VERSIONS
        .iter()
        .map(|version| with_agent(&stage, version, &mut table))
        .collect();
    node(&stage.lab).end_agent(Signal::SIGKILL).unwrap();
    for (version, pod) in VERSIONS.iter().zip(&left) {
        let (refused, calls) = stage.ask(version, "first", version);
        table.saw("ADD, agent away", version, cell(&calls, "ADD"));
        told(&refused, version, "the node agent is not running");
        let (removed, calls) = stage.calls_during(|| pod.remove());
        removed.unwrap();
        table.saw("DEL, agent away", version, cell(&calls, "DEL"));
    }
    let calls = stage.spy.calls().unwrap();
    for version in VERSIONS {
        let calls: Vec<Seen> = calls
            .iter()
            .filter(|call| call.version == version)
            .cloned()
            .collect();
        for verb in ["VERSION", "STATUS", "CHECK", "GC"] {
            table.saw(verb, version, cell(&calls, verb));
        }
    }
    judge(
        &table,
        "n/a: the runtime makes no such call, or cannot read what the bridge answers before us",
    );
    stage.lab.down().unwrap();
}

/// A pod that could not be made says why, in our words or, where it comes first, in the library's.
fn told(refused: &Result<Pod>, version: &str, ours: &str) {
    let error = format!("{:#}", refused.as_ref().unwrap_err());
    let expected = if version == UNREADABLE {
        "unsupported CNI result version \"1.1.0\""
    } else {
        ours
    };
    assert!(error.contains(expected), "{version}: {error}");
}

/// One pod is left in the mesh.
fn with_agent(stage: &Stage, version: &str, table: &mut Table) -> Pod {
    let (first, made) = stage.made("first", version);
    let (second, _) = stage.made("second", version);
    let (refused, calls) = stage.ask(version, "stranger", version);
    table.saw(
        "ADD, pod unknown to the agent",
        version,
        cell(&calls, "ADD"),
    );
    told(&refused, version, &format!("stranger-{}", dashed(version)));
    let made: Vec<Seen> = made
        .into_iter()
        .filter(|call| call.version == version)
        .collect();
    table.saw("ADD", version, cell(&made, "ADD"));

    // All that a kubelet asks beside starting and stopping, for the verbs that never come.
    let cri = node(&stage.lab).cri();
    cri.status().unwrap();
    cri.list_pod_sandboxes().unwrap();
    cri.pod_sandbox_status(first.sandbox()).unwrap();
    for row in ["DEL", "DEL, again"] {
        let (stopped, calls) = stage.calls_during(|| cri.stop_pod_sandbox(first.sandbox()));
        stopped.unwrap();
        assert!(
            calls.iter().all(|call| call.version == version),
            "{calls:?}"
        );
        table.saw(row, version, cell(&calls, "DEL"));
        assert!(!enrolled(&stage.lab, &first.spec().name));
    }
    cri.remove_pod_sandbox(first.sandbox()).unwrap();
    second
}
