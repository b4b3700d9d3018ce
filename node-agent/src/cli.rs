//! The command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tunnel_credentials::DevelopmentCa;

use crate::config_file::{check_mesh, read_roster, read_settings};
use crate::install::{self, Until};
use crate::{explain, hold, logging, status, work};

/// Takes pods of this node into the mesh and serves their traffic.
#[derive(Debug, Parser)]
#[command(name = "ambient-agent", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the agent until SIGTERM, then drain and exit 0.
    ///
    /// This process only holds what must outlive the rest: pods' namespaces and all listeners. It
    /// starts a worker, which does everything else without privileges, and another one if that
    /// dies; connections wait meanwhile. If an agent runs already, this one takes over from it
    /// without cutting a connection, and that one ends when its connections have.
    ///
    /// The agent serves the CNI plugin on a Unix socket. A pod that the pods file, or its labels, put into the
    /// mesh gets listeners in its own network namespace, redirect rules (installed by the plugin),
    /// a self-probe through them and a certificate before it may start. Enrolled pods are written
    /// to the state directory and brought back when the agent starts again.
    Run {
        /// The configuration file (YAML). Every setting is described below.
        #[arg(long)]
        config: PathBuf,
    },
    /// The part that `run` starts; not to be started by hand.
    #[command(hide = true)]
    Worker {
        /// The configuration file (YAML).
        #[arg(long)]
        config: PathBuf,
    },
    /// Put the CNI plugin onto this node and keep it there until SIGTERM.
    ///
    /// Copies the plugin to where the container runtime looks for plugins, then brings the runtime to
    /// run it for each pod, and repairs both within a second when others change them. What it does
    /// not understand it leaves alone and says so. What is installed stays when this ends: pods go on
    /// to be kept out of the network until an agent serves them.
    Install {
        /// The configuration file (YAML); the settings that begin with cni say where and how.
        #[arg(long)]
        config: PathBuf,
        /// Install, and end; exit 1 if something is in the way.
        #[arg(long)]
        once: bool,
    },
    /// Give the container runtime's configuration back as it was, then remove the CNI plugin.
    ///
    /// May be repeated. Refuses while an installer runs on the node. Pods that are in the mesh stay
    /// in it as long as the agent runs: take them out first.
    Uninstall {
        /// The configuration file (YAML) with which it was installed.
        #[arg(long)]
        config: PathBuf,
    },
    /// Check a configuration and the files it names; exit 1 and say every mistake.
    Validate {
        /// The configuration file (YAML).
        #[arg(long)]
        config: PathBuf,
    },
    /// Create the key pair of a development certificate authority, to be shared by all nodes.
    ///
    /// Whoever reads the key can impersonate every pod: never use it in production.
    DevCa {
        /// Where the certificate goes (PEM); must not exist.
        #[arg(long)]
        cert: PathBuf,
        /// Where the private key goes (PEM, mode 0600); must not exist.
        #[arg(long)]
        key: PathBuf,
    },
    /// Show the pods that a running agent serves, and until when their certificates are valid.
    Status {
        /// The configuration file, which names the admin address.
        #[arg(long, conflicts_with = "address", required_unless_present = "address")]
        config: Option<PathBuf>,
        /// The admin address itself, such as 127.0.0.1:15000.
        #[arg(long)]
        address: Option<std::net::SocketAddr>,
    },
    /// Explain why a pod is in the mesh or not, and what of that is on record and in the kernel.
    Explain {
        /// The pod, as namespace/name.
        pod: String,
        /// The configuration file, which names the admin address.
        #[arg(long, conflicts_with = "address", required_unless_present = "address")]
        config: Option<PathBuf>,
        /// The admin address itself, such as 127.0.0.1:15000.
        #[arg(long)]
        address: Option<std::net::SocketAddr>,
    },
}

/// Runs the verb; mistakes go to standard error, exit code 1.
pub(crate) fn main() -> ExitCode {
    let help = format!(
        "Settings of the configuration file:\n\n{}",
        node_agent_settings::describe()
    );
    let command = Cli::command().mut_subcommand("run", |run| run.after_long_help(help));
    let outcome = Cli::from_arg_matches(&command.get_matches())
        .map_err(anyhow::Error::from)
        .and_then(|cli| obey(cli.verb));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be told where standard error is closed.
            let _unheard = writeln!(std::io::stderr(), "ambient-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn obey(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Run { config } => hold::hold(&config),
        Verb::Worker { config } => work::work(&config),
        Verb::Install { config, once } => {
            let until = if once { Until::Done } else { Until::Stopped };
            install::install(&config, until)
        }
        Verb::Uninstall { config } => say(&install::uninstall(&config)?),
        Verb::Validate { config } => validate(&config),
        Verb::DevCa { cert, key } => {
            DevelopmentCa::create(&cert, &key)?;
            say(&format!(
                "created {} and {}\n",
                cert.display(),
                key.display()
            ))
        }
        Verb::Status { config, address } => {
            let address = admin_address(address, config)?;
            say(&status::status(address).context("cannot ask the agent")?)
        }
        Verb::Explain {
            pod,
            config,
            address,
        } => {
            explain::parse(&pod).map_err(anyhow::Error::msg)?;
            let address = admin_address(address, config)?;
            say(&status::explain(address, &pod).context("cannot ask the agent")?)
        }
    }
}

fn admin_address(
    address: Option<std::net::SocketAddr>,
    config: Option<PathBuf>,
) -> anyhow::Result<std::net::SocketAddr> {
    match (address, config) {
        (Some(address), _) => Ok(address),
        (None, Some(config)) => Ok(read_settings(&config)?.admin_address),
        (None, None) => anyhow::bail!("give --config or --address"),
    }
}

fn validate(config: &Path) -> anyhow::Result<()> {
    let settings = read_settings(config)?;
    let mut mistakes = Vec::new();
    if let Err(error) = logging::check(&settings) {
        mistakes.push(error.to_string());
    }
    if let Some(Err(error)) = settings.pods_file.as_deref().map(read_roster) {
        mistakes.push(error.to_string());
    }
    if settings.kubeconfig.is_some()
        && let Err(error) = work::check_access(&settings)
    {
        mistakes.push(format!("{error:#}"));
    }
    if let Some(Err(error)) = settings.mesh_file.as_deref().map(check_mesh) {
        mistakes.push(error.to_string());
    }
    if let (Some(cert), Some(key)) = (&settings.development_ca_cert, &settings.development_ca_key)
        && let Err(error) = DevelopmentCa::load(cert, key)
    {
        mistakes.push(error.to_string());
    }
    anyhow::ensure!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    say(&format!("{}: good\n", config.display()))
}

fn say(text: &str) -> anyhow::Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("standard output")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_helps() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_mistake_of_all_files_is_reported() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name).display().to_string();
        std::fs::write(path("pods"), "pods: [{namespace: UPPER, name: b}]").unwrap();
        let config = format!(
            "node: a\npodsFile: {}\nmeshFile: {}\ndevelopment: true\ndevelopmentCaCert: {}\n\
             developmentCaKey: {}\nlogLevel: loud\n",
            path("pods"),
            path("mesh"),
            path("cert"),
            path("key"),
        );
        std::fs::write(path("config"), config).unwrap();
        let error = validate(&root.path().join("config"))
            .unwrap_err()
            .to_string();
        for part in ["loud", "UPPER", "mesh", "cert"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
