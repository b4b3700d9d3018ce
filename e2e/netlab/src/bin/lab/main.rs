//! The lab from the command line: the demo, and what belongs to one that was kept.
//! It refuses to build anything and to look for programs: a directory of them is given to it.
//! It owns what a person sees, and the exit code.

#![forbid(unsafe_code)]

mod demo;
mod out;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use e2e_netlab::{Binaries, Sweep, kept_labs, sweep, wait};
use std::path::PathBuf;
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
            let binaries = match bin {
                Some(directory) => Binaries::in_directory(&directory)?,
                None => Binaries::from_env()?,
            };
            demo::run(&binaries, json.as_deref(), keep)
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
