//! What an operator sees of an agent, whether or not the API server and the kubelet answer.

use crate::bundle::NAMESPACE;
use crate::container::Container;
use crate::load::Load;
use crate::node::Node;
use crate::shop::Shop;
use anyhow::{Context, Result, ensure};
use e2e_netlab::{Part, run, wait};
use serde::Deserialize;
use std::process::Command;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);
/// Speaks HTTP with what is in every image of a system.
const GET: &str = r"exec 3<>/dev/tcp/127.0.0.1/15000
printf 'GET /config_dump HTTP/1.0\r\nhost: localhost\r\n\r\n' >&3
sed '1,/^\r$/d' <&3";

/// A certificate as an agent's dump has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Whose.
    pub identity: String,
    /// Leaf and intermediates, PEM.
    pub chain: String,
    /// Roots, PEM.
    pub roots: String,
}

#[derive(Deserialize)]
struct Dump {
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    identity: String,
    cert_chain: Vec<Pem>,
    root_certs: Vec<Pem>,
}

#[derive(Deserialize)]
struct Pem {
    pem: String,
}

impl Node {
    /// The certificates that the agent of this node has.
    ///
    /// # Errors
    /// It does not answer.
    pub fn certificates(&self) -> Result<Vec<Shown>> {
        let all = self.agents()?;
        let mut workers = all.iter().filter(|one| one.part == Part::Worker);
        let worker = workers.next().context("no worker")?.id.pid.to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &worker, "--net", "bash", "-c", GET]);
        let text = run(&mut command)?;
        let dump: Dump = serde_json::from_str(&text).context("the agent's dump")?;
        let first = |all: Vec<Pem>| all.into_iter().next().map(|one| one.pem);
        let shown = dump.certificates.into_iter().map(|one| Shown {
            identity: one.identity,
            chain: first(one.cert_chain).unwrap_or_default(),
            roots: one.root_certs.into_iter().map(|root| root.pem).collect(),
        });
        Ok(shown.collect())
    }
}

impl Container<'_> {
    /// What `ambient-agent status` says in an agent's container.
    ///
    /// # Errors
    /// The agent does not answer.
    pub fn status(&self) -> Result<String> {
        let config = ["--config", "/etc/ambient/agent.yaml"];
        self.run(&[&["ambient-agent", "status"], &config[..]].concat())
    }
}

impl Shop {
    /// The agent of a node.
    ///
    /// # Errors
    /// It has none.
    pub fn agent(&self, node: &str) -> Result<Container<'_>> {
        let pod = self.bundle().pod(node)?;
        Container::of(&self.cluster, NAMESPACE, &pod, "istio-proxy")
    }
}

/// Waits until a text has all of these words, and tells how long that took.
///
/// # Errors
/// It has not in time.
pub fn until_says(what: &str, words: &[&str], ask: impl Fn() -> Result<String>) -> Result<()> {
    let began = Instant::now();
    wait::until(what, PATIENCE, || {
        let text = ask()?;
        for word in words {
            ensure!(text.contains(word), "no {word:?} in\n{text}");
        }
        Ok(())
    })?;
    tell(&format!(
        "{what}: after {:.1} s",
        began.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Ends a load, of which nothing may have failed or been lost, and tells its figures.
///
/// # Errors
/// Something has.
pub fn nobody_noticed(what: &str, load: Load) -> Result<()> {
    let outcome = load.stop()?;
    tell(&format!(
        "{what}: {} of {} new connections failed, {} of {} long-lived lost, p99 {} ms",
        outcome.failed, outcome.made, outcome.lost, outcome.kept, outcome.p99_ms
    ));
    let none = (outcome.failed, outcome.lost) == (0, 0) && outcome.made > 0 && outcome.kept > 0;
    ensure!(none, "{}", outcome.report);
    Ok(())
}

#[expect(clippy::print_stdout, reason = "for the person who reads the test")]
fn tell(text: &str) {
    println!("  {text}");
}
