//! A cluster from the command line: to look around in one, and for tests of what a crash leaves behind.
//! It refuses to build anything; `AMBIENT_BIN` and `AMBIENT_CLUSTER_PEERS` say where programs are.
//! It owns the cluster until it is ended.

#![forbid(unsafe_code)]

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e_cluster::{Cluster, Istio, Options, Programs, sweep};
use nix::sys::signal::{SigSet, Signal};
use std::io::Write;

/// A Kubernetes cluster on this machine
#[derive(Parser)]
#[command(name = "cluster")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start one, print how to enter it, and hold it until SIGINT or SIGTERM
    Up {
        /// Names of its nodes
        #[arg(long, value_delimiter = ',', default_value = "a,b")]
        nodes: Vec<String>,
        /// Leave out istiod
        #[arg(long)]
        without_istio: bool,
    },
    /// Remove what crashed ones left behind
    Down,
}

fn main() -> Result<()> {
    match Cli::parse().verb {
        Verb::Up {
            nodes,
            without_istio,
        } => {
            let istio = if without_istio {
                Istio::Absent
            } else {
                Istio::Installed
            };
            up(&Options {
                nodes,
                istio,
                ..Options::default()
            })
        }
        Verb::Down => sweep()?
            .iter()
            .try_for_each(|name| say(&format!("removed {name}"))),
    }
}

fn up(options: &Options) -> Result<()> {
    let cluster = Cluster::bare(&Programs::from_env()?, options)?;
    for phase in cluster.phases() {
        say(&format!(
            "{:6.1} s  {}",
            phase.took.as_secs_f64(),
            phase.what
        ))?;
    }
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    say("enter a machine by `nsenter --target PID --mount --net --pid --uts bash`; there:")?;
    say(
        "export PATH=/opt/peers:$PATH KUBECONFIG=$(echo /run/ambient-cluster/*/pki/admin.kubeconfig)",
    )?;
    say(&format!("  control: {}", cluster.control()?.init().pid))?;
    for name in &options.nodes {
        let pid = cluster.node(name)?.machine().init().pid;
        say(&format!("  {name}: {pid}"))?;
    }
    say(&format!("up: {}", cluster.name()?))?;
    signals.wait()?;
    Ok(())
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
