//! A server under siege: what every test of a hostile peer begins with.

use crate::app::{Kind, Server};
use crate::hostile::{Peer, certificate};
use crate::mesh::Mesh;
use crate::world::{Pod, World};
use crate::{Agent, Call};
use anyhow::Result;
use serde_json::json;
use tunnel_credentials::TestCertificate;

/// An enrolled server, and an evil neighbour that the mesh knows as a workload of its own.
#[derive(Debug)]
pub struct Siege {
    /// Serves both pods of ours.
    pub agent: Agent,
    /// In the mesh, with an echoing application on port 8080.
    pub server: Pod,
    /// In the mesh, to call from.
    pub friend: Pod,
    /// A neighbour whose address and identity the mesh knows, and nobody enrolled.
    pub evil: Pod,
    /// The application.
    pub app: Server,
    /// The wire.
    pub world: World,
}

impl Siege {
    /// Makes it.
    ///
    /// # Errors
    /// A part cannot be made.
    pub fn lay() -> Result<Self> {
        let world = World::new()?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let friend = world.pod(Mesh::NAMESPACE, "friend")?;
        let evil = world.pod(Mesh::NAMESPACE, "evil")?;
        let mesh = Mesh::default()
            .pod(&server)
            .pod(&friend)
            .workload(&evil, "HBONE", &[]);
        let settings = json!({"handshakeTimeout": "2s"});
        let agent = Agent::start(&world, "node", &mesh, &settings)?;
        for pod in [&server, &friend] {
            Call::new("ADD", pod, &agent.socket()).succeed()?;
        }
        let app = Server::start(&server, 8080, Kind::Echo)?;
        Ok(Self {
            agent,
            server,
            friend,
            evil,
            app,
            world,
        })
    }

    /// The evil pod's own, proper certificate.
    #[must_use]
    pub fn own_certificate(&self) -> TestCertificate {
        certificate(&self.world, &self.evil.spiffe())
    }

    /// A tunnel from the evil pod with that certificate.
    ///
    /// # Errors
    /// It is not accepted.
    pub fn good_peer(&self) -> Result<Peer> {
        let config = self.own_certificate().client();
        Peer::greeted(&self.evil, self.server.at(15008), config)
    }
}
