//! Two pods of two nodes whose workers have one thread each: with more of them, how many tunnels there are is chance.

use anyhow::{Result, ensure};
use e2e_netlab::usage::Memory;
use e2e_netlab::{Part, ProcessId};
use e2e_tests::inside::only;
use e2e_tests::mesh::Mesh;
use e2e_tests::{Agent, Pod, World};
use serde_json::{Value, json};

pub(crate) const PORT: u16 = 8080;
pub(crate) const NODES: [&str; 2] = ["the caller's node", "the server's node"];

pub(crate) struct Scene {
    agents: [Agent; 2],
    pub(crate) client: Pod,
    pub(crate) server: Pod,
    pub(crate) world: World,
}

impl Scene {
    /// `more`: settings of both agents.
    pub(crate) fn open(more: &Value) -> Result<Self> {
        let world = World::new()?;
        let client = world.pod(Mesh::NAMESPACE, "client")?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let mesh = Mesh::default().pod(&client).pod(&server);
        let mut settings = json!({"workerThreads": 1});
        if let (Some(all), Some(more)) = (settings.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        let agents = Agent::of_two_nodes(&world, &mesh, &settings, [&client, &server])?;
        Ok(Self {
            agents,
            client,
            server,
            world,
        })
    }

    /// The process of each node that moves traffic.
    pub(crate) fn workers(&self) -> Result<[ProcessId; 2]> {
        let [caller, server] = &self.agents;
        Ok([only(caller, Part::Worker)?, only(server, Part::Worker)?])
    }

    /// Bytes of each worker's memory that no file backs.
    pub(crate) fn anonymous(&self) -> Result<[u64; 2]> {
        let [caller, server] = self.workers()?;
        Ok([
            Memory::of(caller)?.anonymous * 1024,
            Memory::of(server)?.anonymous * 1024,
        ])
    }

    /// How many descriptors each worker has open.
    pub(crate) fn descriptors(&self) -> Result<[usize; 2]> {
        let [caller, server] = self.workers()?;
        Ok([caller.descriptors()?.len(), server.descriptors()?.len()])
    }

    /// No worker has more descriptors open than that.
    pub(crate) fn no_more_than(&self, most: [usize; 2]) -> Result<()> {
        let now = self.descriptors()?;
        ensure!(
            now[0] <= most[0] && now[1] <= most[1],
            "{now:?} are open, at most {most:?} should be"
        );
        Ok(())
    }

    /// Both agents have told the end of as many connections as were begun.
    pub(crate) fn all_told(&self, connections: usize) -> Result<()> {
        for agent in &self.agents {
            let told = agent.log().matches("connection complete").count();
            ensure!(told >= connections, "the end of {told} was told");
        }
        Ok(())
    }
}
