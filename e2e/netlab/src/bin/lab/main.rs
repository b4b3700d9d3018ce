//! The lab from the command line: the demo, what belongs to one that was kept, and the benchmark.
//! It refuses to build anything and to look for programs: a directory of them is given to it.
//! It owns what a person sees, and the exit code.

#![forbid(unsafe_code)]

mod bench;
mod demo;
mod last_words;
mod out;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use e2e_netlab::{Binaries, Sweep, kept_labs, sweep, wait};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Two nodes with real containers, joined by the mesh, on this machine
#[derive(Parser)]
#[command(name = "lab")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Bring up two nodes, let pods talk, show what happened, take it all down
    Demo {
        /// Also write everything that is shown as data
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Leave it up and print how to look around
        #[arg(long)]
        keep: bool,
        /// The directory with `ambient-agent`, `ambient-cni` and `podkit` (else `$AMBIENT_BIN`)
        #[arg(long, value_name = "DIR")]
        bin: Option<PathBuf>,
    },
    /// Measure two pods in the mesh beside two outside, on the same two nodes; write a table, a plot and all numbers
    Bench {
        /// How often each test runs in each lane
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
        rounds: u32,
        /// How long each test runs
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
        seconds: u32,
        /// The directory for `table.md`, `plot.svg` and `results.jsonl`; those of an earlier run are replaced
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The directory with `ambient-agent`, `ambient-cni` and `podkit` (else `$AMBIENT_BIN`)
        #[arg(long, value_name = "DIR")]
        bin: Option<PathBuf>,
    },
    /// Remove kept labs and what crashed ones left behind
    Down,
    /// Run a command in a pod of a kept lab: `lab exec a client -- /podkit help`
    Exec {
        /// a or b
        node: String,
        /// NAME or NAMESPACE/NAME
        pod: String,
        /// The command and its arguments
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            out::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.verb {
        Verb::Demo { json, keep, bin } => {
            give_up_on_signals()?;
            demo::run(&binaries(bin.as_deref())?, json.as_deref(), keep)
        }
        Verb::Bench {
            rounds,
            seconds,
            out,
            bin,
        } => {
            give_up_on_signals()?;
            let length = bench::Length { rounds, seconds };
            bench::run(&binaries(bin.as_deref())?, length, &out)
        }
        Verb::Down => {
            let removed = sweep(Sweep::AbandonedAndKept)?;
            for name in &removed {
                out::say(&format!("removed {name}"));
            }
            if removed.is_empty() {
                out::say("nothing is up");
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Exec { node, pod, command } => exec(&node, &pod, &command),
    }
}

fn binaries(directory: Option<&Path>) -> Result<Binaries> {
    match directory {
        Some(directory) => Binaries::in_directory(directory),
        None => Binaries::from_env(),
    }
}

/// The first signal lets every wait give up, and tear-down runs; a second one ends us at once (the next run cleans up).
fn give_up_on_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Handlers rather than a blocked mask: a mask would be inherited by every program we start.
    let listen = |kind| {
        let _inside = runtime.enter();
        signal(kind)
    };
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    let give_up = async move {
        for turn in 0.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
            if turn > 0 {
                std::process::exit(130);
            }
            out::complain("interrupted: taking everything down");
            wait::cancel();
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || runtime.block_on(give_up))?;
    Ok(())
}

fn exec(node: &str, pod: &str, command: &[String]) -> Result<ExitCode> {
    let labs = kept_labs()?;
    let lab = match labs.as_slice() {
        [] => bail!("no lab is up: start one with `hack/demo --keep`"),
        [.., last] => last,
    };
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    let output = lab.exec(node, pod, &words).context("exec")?;
    out::raw(&output.stdout);
    out::complain(output.stderr.trim_end());
    Ok(ExitCode::from(u8::try_from(output.code).unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::*;

    fn parse(text: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(text.split(' '))
    }

    #[test]
    fn a_benchmark_needs_a_directory_and_nothing_else() {
        let Verb::Bench {
            rounds,
            seconds,
            out,
            bin,
        } = parse("lab bench --out here").unwrap().verb
        else {
            panic!("another verb");
        };
        assert_eq!((rounds, seconds, bin), (5, 3, None));
        assert_eq!(out, Path::new("here"));
    }

    #[test]
    fn a_mistake_is_answered_with_what_to_do() {
        for (text, hint) in [
            ("lab bench", "--out <DIR>"),
            ("lab bench --out here --rounds 0", "0 is not in 1..=100"),
            ("lab bench --out here --seconds 61", "61 is not in 1..=60"),
            ("lab bench --out here --seconds soon", "invalid digit"),
            (
                "lab bench --out here --keep",
                "unexpected argument '--keep'",
            ),
        ] {
            let error = parse(text).err().unwrap().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
