//! Instructions of the data path's decisions, counted by `valgrind`.

use anyhow::{Context, Result, ensure};
use e2e_netlab::{find_program, program};
use e2e_tests::programs;
use std::path::{Path, PathBuf};

/// The difference between two numbers of rounds is without what the program does before.
const ROUNDS: [u64; 2] = [1000, 3000];

/// Instructions of one decision in a mesh of 10,000 workloads with ten policies. Seen were 3132 and 5920.
const MOST: [(&str, u64); 2] = [("outbound", 3450), ("inbound", 6500)];

/// The program that decides in a loop, with optimizations: `hack/test netns` builds it beside the others.
pub(crate) fn built() -> Result<PathBuf> {
    programs::ours("hot")
}

/// What takes more than it may, in words.
pub(crate) fn beyond(hot: &Path) -> Result<Vec<String>> {
    let mut beyond = Vec::new();
    for (case, most) in MOST {
        let [few, many] = ROUNDS;
        let (less, more) = (
            instructions(hot, case, few)?,
            instructions(hot, case, many)?,
        );
        ensure!(
            more > less,
            "{more} instructions for {many}, {less} for {few}"
        );
        let each = (more - less) / (many - few);
        let text = format!("{case}: {each} instructions for a decision, at most {most}");
        println!("{text}");
        if each > most {
            beyond.push(text);
        }
    }
    Ok(beyond)
}

fn instructions(hot: &Path, case: &str, rounds: u64) -> Result<u64> {
    let valgrind = find_program("valgrind")
        .context("instructions are counted by valgrind: install the package valgrind")?;
    let mut command = program(valgrind);
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let output = command
        .arg(hot)
        .args([case, &rounds.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind: {text}");
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let (_, number) = collected.with_context(|| format!("no number: {text}"))?;
    Ok(number.trim().parse()?)
}
