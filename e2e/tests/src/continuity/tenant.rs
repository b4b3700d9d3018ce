//! A pod that comes and goes while things happen: added and deleted plugin by plugin, as a runtime does, so that what is in
//! its namespace can be looked at after every step.

use super::scene::enrolled;
use crate::runtime::{Added, MESHED, Network, Sandbox};
use crate::until;
use anyhow::{Context, Result, ensure};
use e2e_netlab::{Lab, Node, PodSpec};
use std::thread;
use std::time::{Duration, Instant};

/// As long as a kubelet would certainly go on trying.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(50);
const PORTS: [u16; 3] = [15001, 15006, 15008];

/// Such a pod, with the bridge's work done.
#[derive(Debug)]
pub struct Tenant<'a> {
    node: &'a Node,
    network: Network,
    sandbox: Sandbox,
    attached: Added,
}

/// How an ADD came to succeed.
#[derive(Clone, Debug)]
pub struct Admission {
    /// What those that failed said.
    pub refused: Vec<String>,
    /// From the beginning of the first to the end of the last.
    pub took: Duration,
}

impl<'a> Tenant<'a> {
    /// The pod as agents must be told of it.
    #[must_use]
    pub fn spec(name: &str) -> PodSpec {
        PodSpec::idle(MESHED, name)
    }

    /// The network of such pods on a node; `number` tells nodes apart.
    ///
    /// # Errors
    /// A program is missing.
    pub fn network(lab: &Lab, node: &Node, number: u8) -> Result<Network> {
        Network::new(lab, node, "1.0.0", "tenants", number)
    }

    /// Makes its namespace, with an interface.
    ///
    /// # Errors
    /// The bridge plugin fails.
    pub fn create(lab: &Lab, node: &'a Node, network: &Network, name: &str) -> Result<Self> {
        let sandbox = Sandbox::create(lab, MESHED, name)?;
        let attached = network.attach(&sandbox)?;
        Ok(Self {
            node,
            network: network.clone(),
            sandbox,
            attached,
        })
    }

    /// Its namespace.
    #[must_use]
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// ADD until it succeeds, with the DEL of a runtime after each that fails. One that fails leaves no half of
    /// an enrolment: an earlier one, whose end its agent did not live to see, may be brought back meanwhile, and then wholly.
    ///
    /// # Errors
    /// It never succeeds, or leaves something.
    pub fn add(&self) -> Result<Admission> {
        let began = Instant::now();
        let mut refused = Vec::new();
        loop {
            let ran = self
                .network
                .mesh("ADD", &self.sandbox, &self.attached.result)?;
            if ran.code()? == 0 {
                let took = began.elapsed();
                return Ok(Admission { refused, took });
            }
            self.is_whole_or_out()
                .with_context(|| format!("after {ran:?}"))?;
            refused.push(ran.output["msg"].as_str().unwrap_or_default().to_owned());
            ensure!(began.elapsed() < PATIENCE, "it never succeeds: {refused:?}");
            self.delete()?;
            // Far sooner than any runtime.
            thread::sleep(AGAIN);
        }
    }

    /// Waits until there are no rules, or all listeners beside them. Rules alone let nothing out, but lead nowhere.
    fn is_whole_or_out(&self) -> Result<()> {
        until(&format!("{} is whole or out", self.sandbox.name), || {
            let rules = self.sandbox.our_rules()?;
            let listeners = self.sandbox.listeners()?;
            ensure!(
                rules.is_empty() || listeners == PORTS,
                "{} rules, and these listen: {listeners:?}",
                rules.len()
            );
            Ok(())
        })
    }

    /// DEL, which always succeeds. An agent that was away, and comes back before the namespace goes, may serve the pod again.
    ///
    /// # Errors
    /// It fails.
    pub fn delete(&self) -> Result<()> {
        let ran = self
            .network
            .mesh("DEL", &self.sandbox, &self.attached.result)?;
        ensure!(ran.code()? == 0, "DEL: {ran:?}");
        Ok(())
    }

    /// Takes its namespace away, as a runtime does after DEL, and waits until the agent has forgotten it.
    ///
    /// # Errors
    /// It does not.
    pub fn leave(self) -> Result<()> {
        let Self { node, sandbox, .. } = self;
        let container = sandbox.container.clone();
        drop(sandbox);
        until(&format!("{container} is forgotten"), || {
            let dump = node.agent_dump()?;
            let pods = dump["pods"].as_array().context("no pods in the dump")?;
            let known = pods
                .iter()
                .find(|pod| pod["containerId"] == container.as_str());
            ensure!(known.is_none(), "the agent says: {known:?}");
            Ok(())
        })
    }

    /// Starts an ADD or a DEL, which somebody else may then kill.
    ///
    /// # Errors
    /// The plugin cannot be started.
    pub fn start(&self, verb: &str) -> Result<std::process::Child> {
        self.network
            .start(verb, &self.sandbox, &self.attached.result)
    }

    /// Waits until all of it is in: rules, listeners, the agent's word, CHECK.
    ///
    /// # Errors
    /// It never is.
    pub fn is_in(&self) -> Result<()> {
        until(&format!("{} is in", self.sandbox.name), || {
            let rules = self.sandbox.our_rules()?;
            ensure!(!rules.is_empty(), "there are no rules");
            let listeners = self.sandbox.listeners()?;
            ensure!(listeners == PORTS, "these listen: {listeners:?}");
            let container = &self.sandbox.container;
            ensure!(enrolled(self.node, container)?, "it is not enrolled");
            let previous = &self.attached.result;
            let ran = self.network.mesh("CHECK", &self.sandbox, previous)?;
            ensure!(ran.code()? == 0, "CHECK: {ran:?}");
            Ok(())
        })
    }

    /// Waits until nothing of it is left: no rules at once, no listeners and no word of the agent as soon as there is one.
    ///
    /// # Errors
    /// Something stays.
    pub fn is_out(&self) -> Result<()> {
        let rules = self.sandbox.our_rules()?;
        let count = rules.len();
        ensure!(
            count == 0,
            "{count} rules are left, the last: {:?}",
            rules.last()
        );
        until(&format!("{} is out", self.sandbox.name), || {
            let listeners = self.sandbox.listeners()?;
            ensure!(listeners.is_empty(), "these listen: {listeners:?}");
            Ok(())
        })
    }
}
