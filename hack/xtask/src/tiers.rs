//! Which integration test runs when, by its name.

use std::io::Write;

use anyhow::bail;

use crate::graph::Graph;

/// What a test needs in order to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    /// Nothing.
    Unit,
    /// Root and network namespaces.
    Netns,
    /// A container runtime.
    Runtime,
    /// A cluster of our own, made of programs that are built for it.
    Cluster,
    /// kind; no command runs these yet.
    Later,
}

pub(crate) fn print(graph: &Graph, tier: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let wanted = match tier {
        "unit" => Tier::Unit,
        "netns" => Tier::Netns,
        "runtime" => Tier::Runtime,
        "cluster" => Tier::Cluster,
        "later" => Tier::Later,
        other => bail!("unknown tier `{other}`: unit, netns, runtime, cluster or later"),
    };
    for member in graph.members() {
        for test in &member.tests {
            if tier_of(&member.directory, test) == wanted {
                writeln!(out, "{} {test}", member.name)?;
            }
        }
    }
    Ok(())
}

/// By prefix; below `e2e/` a test without one needs a runtime, elsewhere it needs nothing.
fn tier_of(directory: &str, test: &str) -> Tier {
    match test.split_once('_').map_or(test, |(prefix, _)| prefix) {
        "netns" => Tier::Netns,
        "runtime" => Tier::Runtime,
        "cluster" => Tier::Cluster,
        "kind" => Tier::Later,
        _ if directory.starts_with("e2e") => Tier::Runtime,
        _ => Tier::Unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_follow_names_and_places() {
        for (directory, test, expected) in [
            ("node-agent/namespace", "netns_apply", Tier::Netns),
            ("e2e/tests", "netns_kill", Tier::Netns),
            ("e2e/tests", "runtime_add", Tier::Runtime),
            ("e2e/netlab", "plain", Tier::Runtime),
            ("tunnel/hbone", "peers", Tier::Unit),
            ("tunnel/hbone", "netnsish", Tier::Unit),
            ("e2e/cluster", "cluster_up", Tier::Cluster),
            ("e2e/tests", "kind_upgrade", Tier::Later),
        ] {
            assert_eq!(tier_of(directory, test), expected, "{directory} {test}");
        }
    }
}
