//! Through `cnitool` and with it the CNI library of today, which keeps results between calls and derives calls from them.

use crate::{VERSIONS, cell, dashed, enrolled, judge, network, node, reference_plugins, stage};
use e2e_netlab::{Lab, find_program};
use e2e_tests::runtime::{MESHED, Ran, Sandbox, Seen, Spy, Table, execute, peer};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Its library's memory has no setting; it is given a directory of ours in that place.
const WITH_CACHE: &str = "mount --bind \"$0\" /var/lib/cni && exec \"$@\"";

const NEVER: &[&str] = &["n/a", "n/a", "n/a", "n/a", "n/a"];
const ALWAYS: &[&str] = &["0", "0", "0", "0", "0"];
const ROWS: [(&str, &[&str]); 16] = [
    ("VERSION", NEVER),
    ("STATUS", &["n/a", "n/a", "n/a", "n/a", "0"]),
    ("ADD", ALWAYS),
    (
        "ADD, pod unknown to the agent",
        &["100", "100", "100", "100", "100"],
    ),
    ("CHECK", &["n/a", "n/a", "0", "0", "0"]),
    ("CHECK, rules altered", &["n/a", "n/a", "105", "105", "105"]),
    ("DEL", ALWAYS),
    ("DEL, again", ALWAYS),
    ("DEL, made by gc", ALWAYS),
    ("GC", &["n/a", "n/a", "n/a", "n/a", "0"]),
    // The tool leaves out the list that the specification demands.
    ("GC, without a list", &["n/a", "n/a", "n/a", "n/a", "7"]),
    ("STATUS, agent away", &["n/a", "n/a", "n/a", "n/a", "50"]),
    ("ADD, agent away", &["11", "11", "11", "11", "11"]),
    ("CHECK, agent away", &["n/a", "n/a", "11", "11", "11"]),
    ("DEL, agent away", ALWAYS),
    ("GC, agent away", &["n/a", "n/a", "n/a", "n/a", "0"]),
];

/// One version's network, and what is asked of the plugin in it.
struct Column<'a> {
    lab: &'a Lab,
    version: &'static str,
    network: String,
    lists: PathBuf,
    plugins: PathBuf,
    cache: PathBuf,
    spy: Spy,
}

impl<'a> Column<'a> {
    fn new(lab: &'a Lab, version: &'static str) -> Self {
        let directory = lab.directory().join(format!("cnitool-{version}"));
        let [lists, plugins, cache] = ["net.d", "bin", "cache"].map(|name| directory.join(name));
        for made in [&lists, &plugins, &cache, Path::new("/var/lib/cni")] {
            std::fs::create_dir_all(made).unwrap();
        }
        reference_plugins(&plugins).unwrap();
        let ours = e2e_tests::programs::ours("ambient-cni").unwrap();
        let network = network(lab, "cnitool", version).list();
        write(&lists, &network);
        // The same without the list for GC, which only a configuration can hold here.
        let mut listed = network.clone();
        listed["name"] = json!(format!("{}-listed", name(&network)));
        listed["plugins"][1]["cni.dev/valid-attachments"] = json!([]);
        write(&lists, &listed);
        Self {
            lab,
            version,
            network: name(&network).to_owned(),
            lists,
            spy: Spy::install(&plugins, &ours).unwrap(),
            plugins,
            cache,
        }
    }

    fn pod(&self, part: &str) -> Sandbox {
        let name = format!("{part}-{}", dashed(self.version));
        Sandbox::create(self.lab, MESHED, &name).unwrap()
    }

    /// Runs the tool, and says what our plugin was asked meanwhile.
    fn tool(&self, argument: &str, network: &str, pod: &Sandbox) -> (Ran, Vec<Seen>) {
        let skip = self.spy.calls().unwrap().len();
        let tool = peer("cnitool").unwrap();
        let [cache, tool, netns, lists, plugins] =
            [&self.cache, &tool, pod.path(), &self.lists, &self.plugins]
                .map(|path| path.display().to_string());
        let environment = BTreeMap::from([
            ("NETCONFPATH", lists),
            ("CNI_PATH", plugins),
            ("CNI_ARGS", pod.args()),
        ]);
        let words = [
            "--mount", "--", "/bin/sh", "-c", WITH_CACHE, &cache, &tool, argument, network, &netns,
        ];
        let unshare = find_program("unshare").unwrap();
        let ran = execute(
            node(self.lab).netns().path(),
            &unshare,
            &words,
            &environment,
            b"",
        )
        .unwrap();
        let calls = self.spy.calls().unwrap().split_off(skip);
        let refused = calls.iter().any(|call| call.code != 0);
        // What we refuse, the tool refuses; what it refuses by itself never came to us.
        if refused || !calls.is_empty() {
            assert_eq!(
                ran.exit != Some(0),
                refused,
                "{argument}: {ran:?}, {calls:?}"
            );
        }
        (ran, calls)
    }

    fn call(&self, row: &str, argument: &str, pod: &Sandbox, verb: &str, table: &mut Table) {
        let (_, calls) = self.tool(argument, &self.network, pod);
        table.saw(row, self.version, cell(&calls, verb));
    }

    /// The network whose configuration holds the list of valid attachments: an empty one.
    fn listed(&self) -> String {
        format!("{}-listed", self.network)
    }
}

fn name(list: &Value) -> &str {
    list["name"].as_str().unwrap()
}

fn write(lists: &Path, list: &Value) {
    let file = format!("{}.conflist", name(list));
    std::fs::write(lists.join(file), list.to_string()).unwrap();
}

#[test]
fn cnitool() {
    let lab = stage();
    let mut table = Table::new("cnitool 1.3", &VERSIONS, &ROWS);
    let columns: Vec<_> = VERSIONS
        .iter()
        .map(|version| Column::new(&lab, version))
        .collect();
    let pods: Vec<_> = columns
        .iter()
        .map(|column| with_agent(column, &mut table))
        .collect();
    node(&lab).end_agent(Signal::SIGKILL).unwrap();
    for (column, (first, second)) in columns.iter().zip(&pods) {
        column.call("STATUS, agent away", "status", first, "STATUS", &mut table);
        column.call("ADD, agent away", "add", first, "ADD", &mut table);
        assert_eq!(
            first.our_rules().unwrap(),
            Vec::<String>::new(),
            "a failed ADD leaves no rules"
        );
        column.call("CHECK, agent away", "check", second, "CHECK", &mut table);
        column.call("DEL, agent away", "del", second, "DEL", &mut table);
        assert_eq!(
            second.our_rules().unwrap(),
            Vec::<String>::new(),
            "DEL takes rules out by itself"
        );
        let (_, calls) = column.tool("gc", &column.listed(), second);
        table.saw("GC, agent away", column.version, cell(&calls, "GC"));
        let calls = column.spy.calls().unwrap();
        table.saw("VERSION", column.version, cell(&calls, "VERSION"));
        assert!(
            calls.iter().all(|call| call.version == column.version),
            "{calls:?}"
        );
    }
    drop(pods);
    judge(
        &table,
        "n/a: the library makes no such call in that version",
    );
    lab.down().unwrap();
}

/// The second pod is left in the mesh.
fn with_agent(column: &Column<'_>, table: &mut Table) -> (Sandbox, Sandbox) {
    let [first, second, stranger] = ["first", "second", "stranger"].map(|part| column.pod(part));
    column.call("STATUS", "status", &first, "STATUS", table);
    let (ran, calls) = column.tool("add", &column.network, &first);
    table.saw("ADD", column.version, cell(&calls, "ADD"));
    assert_eq!(
        ran.output["ips"].as_array().map(Vec::len),
        Some(2),
        "{ran:?}"
    );
    assert!(enrolled(column.lab, &first.name));
    column.call("CHECK", "check", &first, "CHECK", table);
    first.damage().unwrap();
    column.call("CHECK, rules altered", "check", &first, "CHECK", table);
    column.call("DEL", "del", &first, "DEL", table);
    assert_eq!(
        first.our_rules().unwrap(),
        Vec::<String>::new(),
        "DEL leaves no rules"
    );
    assert!(!enrolled(column.lab, &first.name));
    column.call("DEL, again", "del", &first, "DEL", table);
    column.call(
        "ADD, pod unknown to the agent",
        "add",
        &stranger,
        "ADD",
        table,
    );
    column.tool("del", &column.network, &stranger);
    garbage(column, table);
    let (ran, _) = column.tool("add", &column.network, &second);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    (first, second)
}

/// GC: the library deletes what it remembers, then asks the plugins of a version that has GC.
fn garbage(column: &Column<'_>, table: &mut Table) {
    for (row, network) in [
        ("GC", column.listed()),
        ("GC, without a list", column.network.clone()),
    ] {
        let pod = column.pod("third");
        let (ran, _) = column.tool("add", &network, &pod);
        assert_eq!(ran.exit, Some(0), "{ran:?}");
        assert!(enrolled(column.lab, &pod.name));
        let (_, calls) = column.tool("gc", &network, &pod);
        table.saw(row, column.version, cell(&calls, "GC"));
        table.saw("DEL, made by gc", column.version, cell(&calls, "DEL"));
        assert_eq!(
            pod.our_rules().unwrap(),
            Vec::<String>::new(),
            "what gc deletes is deleted"
        );
        assert!(!enrolled(column.lab, &pod.name));
    }
}
