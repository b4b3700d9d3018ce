//! The results as Markdown.

use super::lanes::{DIRECT, OURS};
use super::machine::About;
use super::results::Results;
use super::spread::{Spread, number, paired, spread};
use super::suite::{CPU, TESTS, Test};
use std::fmt::Write as _;

const READING: &str = "\
Each cell is the median of all rounds [least–most]. `ours` is two pods in the mesh, on two nodes of this machine: every
byte passes both nodes' agents and is encrypted between them. `direct` is two other pods on the same nodes, outside the
mesh. A ratio is ours ÷ direct within each round. Requests and connections carry 128 bytes and their echo, unless it says
otherwise. Times count from when a request was due; those of new connections to the whole echo. Nodes, pods, agents and
the load share this machine's processors: absolute numbers are its own.";

/// The whole text.
pub(super) fn table(about: &About, results: &Results) -> String {
    let mut text = heading(about);
    let _ = writeln!(
        text,
        "\n| test | figure | {OURS} | {DIRECT} | {OURS} ÷ {DIRECT} |"
    );
    let _ = writeln!(text, "|---|---|---:|---:|---:|");
    for test in &TESTS {
        for figure in test.figures {
            let cells = cells(results, test, figure.key);
            let _ = writeln!(text, "| {} | {} | {cells} |", test.title, figure.title);
        }
    }
    processor(results, &mut text);
    memory(results, &mut text);
    let failures = results.failures();
    if !failures.is_empty() {
        let _ = writeln!(text, "\nWhat failed:\n");
        for failure in failures {
            let _ = writeln!(text, "- {}", failure.replace('\n', " "));
        }
    }
    text
}

fn heading(about: &About) -> String {
    let memory = about
        .memory_gib
        .map(|gib| format!(", {gib} GiB of memory"))
        .unwrap_or_default();
    format!(
        "# Two pods in the mesh beside two outside\n\n\
         - date: {}\n- command: `{}`\n- rounds: {} of {} s for each test and lane\n\
         - machine: {} × {}{memory}\n- kernel: Linux {}\n- load before the first test: {}\n\n{READING}\n",
        about.date,
        about.command,
        about.rounds,
        about.seconds,
        about.cores,
        about.cpu,
        about.kernel,
        about.load_before,
    )
}

/// Both lanes and their ratio, as the cells of a row.
fn cells(results: &Results, test: &Test, key: &str) -> String {
    let [ours, direct] = [OURS, DIRECT].map(|lane| results.rounds(test.name, lane, key));
    let lane = |lane, rounds: &[(u32, f64)]| {
        let found = spread(rounds.iter().map(|(_, value)| *value));
        let (failed, all) = results.failed(test.name, lane);
        match (found, failed) {
            (Some(found), 0) => cell(found),
            (Some(found), _) => format!("{}; {failed} of {all} failed", cell(found)),
            (None, 0) => "–".to_owned(),
            (None, _) => "failed".to_owned(),
        }
    };
    let ratio = spread(paired(&ours, &direct)).map_or("–".to_owned(), cell);
    format!(
        "{} | {} | {ratio}",
        lane(OURS, &ours),
        lane(DIRECT, &direct)
    )
}

fn cell(spread: Spread) -> String {
    let Spread {
        median,
        least,
        most,
    } = spread;
    format!("{} [{}–{}]", number(median), number(least), number(most))
}

fn processor(results: &Results, text: &mut String) {
    let _ = writeln!(
        text,
        "\nProcessor time of both agents together, in the mesh:\n\n| test | CPU seconds | per |\n|---|---:|---|"
    );
    for test in &TESTS {
        let (_, _, unit) = test.verb.work();
        let rounds = results.rounds(test.name, OURS, CPU);
        let found = spread(rounds.into_iter().map(|(_, value)| value));
        let found = found.map_or("–".to_owned(), cell);
        let _ = writeln!(text, "| {} | {found} | {unit} |", test.title);
    }
}

fn memory(results: &Results, text: &mut String) {
    let _ = writeln!(
        text,
        "\nMemory of an agent, all its processes together, in MiB (one look each):\n\n\
         | moment | agent | resident (Rss) | shared pages in part (Pss) | anonymous |\n|---|---|---:|---:|---:|"
    );
    for one in &results.memory {
        let mib = |kib: u64| number(f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0);
        let memory = &one.memory;
        let [rss, pss, anonymous] = [memory.rss, memory.pss, memory.anonymous].map(mib);
        let _ = writeln!(
            text,
            "| {} | {} | {rss} | {pss} | {anonymous} |",
            one.moment, one.node
        );
    }
}
