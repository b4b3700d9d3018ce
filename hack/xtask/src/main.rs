//! House rules that neither the compiler nor clippy can express, run as `cargo xtask tidy`,
//! and the list of integration tests by tier.
//!
//! It reads sources, manifests and the resolved dependency graph, and says for every broken rule
//! where it is and what to do about it. It refuses to change anything: no file is written, no rule
//! can be silenced from the command line. It owns the list of rules and nothing that ships.
#![forbid(unsafe_code)]

mod arrows;
mod finding;
mod graph;
mod lengths;
mod purity;
mod roots;
mod source;
mod supply;
mod tiers;
mod tree;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;

use finding::{Findings, Level};
use graph::Graph;
use tree::SourceTree;

const HELP: &str = "\
usage: cargo xtask <task>

tasks:
  tidy   length of files and functions, colours and arrows between crates, purity,
         crate roots, dependencies with their sources and licences, commands in hack/
  tests TIER
         the integration tests of a tier (unit, netns, runtime, cluster, later), one `package test` a line
";

fn main() -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("tidy") => tidy(&mut out),
        Some("tests") => {
            let tier = arguments.next().context("which tier?")?;
            tiers::print(&Graph::load(root()?)?, &tier, &mut out)?;
            Ok(ExitCode::SUCCESS)
        }
        Some("help" | "--help" | "-h") => {
            out.write_all(HELP.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            std::io::stderr().write_all(HELP.as_bytes())?;
            Ok(ExitCode::from(2))
        }
    }
}

fn tidy(out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let root = root()?;
    let graph = Graph::load(root)?;
    let tree = SourceTree::load(root, &graph)?;
    let mut findings = Findings::default();
    lengths::check(&tree, &mut findings);
    purity::check(&tree, &graph, &mut findings);
    roots::check(&tree, root, &mut findings)?;
    arrows::check(&graph, &mut findings);
    supply::check(&graph, &mut findings);
    findings.print(out)?;
    let failures = findings.count(Level::Fail);
    writeln!(
        out,
        "tidy: {} crates, {} files, {failures} failures, {} warnings",
        graph.members().count(),
        tree.files.len(),
        findings.count(Level::Warn),
    )?;
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn root() -> anyhow::Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .context("this crate lies two directories below the workspace root")
}
