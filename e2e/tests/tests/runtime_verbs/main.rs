//! Every verb in every version of the specification through every runtime: the code each call came to.
//! `n/a` in a table is an observation, too: the runtime was made to do all it can, and made no such call.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod cnitool;
mod containerd;
mod direct;
mod malformed;

use anyhow::Result;
use e2e_netlab::mesh::Mesh;
use e2e_netlab::{Lab, Node, PodSpec};
use e2e_tests::runtime::{self, MESHED, Network, Seen, Table, peer};
use std::os::unix::fs::symlink;
use std::path::Path;

const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// A version as part of a name.
fn dashed(version: &str) -> String {
    version.replace('.', "-")
}

/// A lab with one node, whose agent has been told of some pods for each version.
fn stage() -> Lab {
    let mut mesh: Mesh = runtime::namespaces();
    for version in VERSIONS {
        for part in ["first", "second", "third"] {
            let spec = PodSpec::idle(MESHED, &format!("{part}-{}", dashed(version)));
            mesh.pod(&spec, "account");
        }
    }
    runtime::lab(&["a"], &mesh).unwrap()
}

fn node(lab: &Lab) -> &Node {
    &lab.nodes()[0]
}

/// Whether the agent serves a pod.
fn enrolled(lab: &Lab, name: &str) -> bool {
    let dump = node(lab).agent_dump().unwrap();
    let pods = dump["pods"].as_array().unwrap();
    pods.iter()
        .any(|pod| pod["name"] == name && pod["stage"] == "enrolled")
}

/// Puts plugins that speak all versions into a directory.
fn reference_plugins(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    for name in ["bridge", "host-local"] {
        let link = directory.join(name);
        if link.symlink_metadata().is_ok() {
            std::fs::remove_file(&link)?;
        }
        symlink(peer(name)?, link)?;
    }
    Ok(())
}

/// A network of its own for each version.
fn network(lab: &Lab, runtime: &str, version: &str) -> Network {
    let place = VERSIONS.iter().position(|known| *known == version).unwrap();
    let number = 100 + u8::try_from(place).unwrap();
    let name = format!("{runtime}-{}", dashed(version));
    Network::new(lab, node(lab), version, &name, number).unwrap()
}

/// What the last call of a verb came to, or that there was none.
fn cell(calls: &[Seen], verb: &str) -> String {
    let last = calls.iter().rev().find(|call| call.verb == verb);
    last.map_or_else(|| "n/a".to_owned(), |call| call.code.to_string())
}

/// Prints the table whole, then judges it.
fn judge(table: &Table, legend: &str) {
    println!("{}  {legend}\n", table.text());
    table.verdict().unwrap();
}
