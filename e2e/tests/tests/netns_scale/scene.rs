//! Two pods of one node and an istiod that tells a large mesh.

use anyhow::{Context, Result, ensure};
use e2e_netlab::Part;
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::inside::only;
use e2e_tests::istiod::{Crowd, Istiod, Memory, Stream, Told};
use e2e_tests::mesh::Mesh;
use e2e_tests::tempo::{Seen, Tempo};
use e2e_tests::{Agent, Call, Pod, World, until, usage};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const PORT: u16 = 8080;
const PERIOD: Duration = Duration::from_millis(4);
/// How long traffic goes on after the last answer: what is done afterwards counts too.
const AFTERMATH: Duration = Duration::from_millis(500);
/// Between one change and the next.
const CHANGES: Duration = Duration::from_millis(50);

pub(crate) struct Scene {
    pub(crate) crowd: Arc<Crowd>,
    pub(crate) workloads: u32,
    pub(crate) agent: Agent,
    istiod: Istiod,
    client: Pod,
    server: Pod,
    _app: Server,
    _world: World,
}

/// What was seen while something was done.
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    /// From the beginning to the end of the traffic.
    pub(crate) lasted: Duration,
    /// Processor time of all processes, traffic included.
    pub(crate) processor: Duration,
    pub(crate) memory: usage::Memory,
    pub(crate) traffic: Seen,
}

impl Scene {
    /// Nothing of the large mesh is told yet.
    pub(crate) fn open(workloads: u32) -> Result<Self> {
        let world = World::new()?;
        let client = world.pod(Mesh::NAMESPACE, "client")?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let secrets = world.directory().join("secrets");
        std::fs::create_dir_all(&secrets)?;
        std::fs::write(secrets.join("token"), "a token")?;
        let told = Told::default().pod(&client, &[]);
        let told = told.pod(&server, &["strict"]).strict("strict");
        let mesh = Mesh::default().expected(&client).expected(&server);
        let mut istiod = None;
        let agent = Agent::start_beside(&world, "node", &mesh, &settings(&secrets), |netns| {
            istiod = Some(Istiod::start(netns, told, Some(&secrets.join("root.pem")))?);
            Ok(())
        })?;
        for pod in [&client, &server] {
            Call::new("ADD", pod, &agent.socket()).succeed()?;
        }
        let app = Server::start(&server, PORT, Kind::Echo)?;
        let message = "through the tunnel";
        until("calls go through", || {
            app::echo(&client, server.at(PORT), message)
        })?;
        Ok(Self {
            crowd: Arc::new(Crowd::new(workloads)),
            workloads,
            agent,
            istiod: istiod.context("no istiod")?,
            client,
            server,
            _app: app,
            _world: world,
        })
    }

    /// Traffic and nothing else.
    pub(crate) fn quiet(&self) -> Result<Phase> {
        self.phase("nothing", || {
            thread::sleep(3 * AFTERMATH);
            Ok(())
        })
    }

    /// The connection is cut, and on the next one the large mesh is told.
    pub(crate) fn load(&self, name: &'static str, memory: Memory) -> Result<(Phase, Stream)> {
        let before = self.streams();
        let phase = self.phase(name, || {
            self.istiod.cut(memory, |told| told.crowd(&self.crowd));
            self.answered(before + 1).map(drop)
        })?;
        Ok((phase, self.answered(before + 1)?))
    }

    /// One change after the other; how long each took from being told to being answered.
    pub(crate) fn changes(
        &self,
        name: &'static str,
        count: u32,
        change: impl Fn(Told, u32) -> Told,
    ) -> Result<(Phase, Vec<Duration>)> {
        let mut times = Vec::new();
        let phase = self.phase(name, || {
            for number in 1..=count {
                let began = Instant::now();
                let sent = self.answered(self.streams())?.sent;
                self.istiod.tell(|told| change(told, number));
                times.push(self.answer_after(sent)?.duration_since(began));
                // The rhythm of the changes; nothing waits for it.
                thread::sleep(CHANGES.saturating_sub(began.elapsed()));
            }
            Ok(())
        })?;
        Ok((phase, times))
    }

    /// A worker that knows nothing takes over: from the death of the one before to the last answer, and the stream.
    pub(crate) fn new_worker(&self) -> Result<(Duration, Stream)> {
        let before = self.streams();
        let began = Instant::now();
        only(&self.agent, Part::Worker)?.signal(Signal::SIGKILL)?;
        let stream = self.answered(before + 1)?;
        let last = stream.last_answer.context("no answer")?;
        app::echo(&self.client, self.server.at(PORT), "as before")?;
        Ok((last.duration_since(began), stream))
    }

    fn phase(&self, name: &'static str, act: impl FnOnce() -> Result<()>) -> Result<Phase> {
        usage::forget_peak(&self.agent)?;
        let tempo = Tempo::start(&self.client, self.server.at(PORT), PERIOD)?;
        let (began, before) = (Instant::now(), usage::processor(&self.agent)?);
        act().context(name)?;
        thread::sleep(AFTERMATH);
        let (lasted, after) = (began.elapsed(), usage::processor(&self.agent)?);
        let traffic = tempo.stop().context(name)?;
        Ok(Phase {
            name,
            lasted,
            processor: after.saturating_sub(before),
            memory: usage::memory(&self.agent)?,
            traffic,
        })
    }

    fn streams(&self) -> usize {
        self.istiod.seen().streams.len()
    }

    /// The stream of that number, once all that was said on it is answered.
    fn answered(&self, number: usize) -> Result<Stream> {
        until("all is answered", || {
            let seen = self.istiod.seen();
            ensure!(seen.rejected.is_empty(), "rejected: {:?}", seen.rejected);
            let stream = seen.streams.get(number - 1).copied();
            let stream = stream.context("there is no stream yet")?;
            ensure!(stream.sent >= 2, "{stream:?}");
            ensure!(stream.answered == stream.sent, "{stream:?}");
            Ok(stream)
        })
    }

    fn answer_after(&self, sent: usize) -> Result<Instant> {
        until("the change is answered", || {
            let stream = self.answered(self.streams())?;
            ensure!(stream.sent > sent, "{stream:?}");
            stream.last_answer.context("no answer")
        })
    }
}

fn settings(secrets: &Path) -> Value {
    let address = format!("127.0.0.1:{}", Istiod::PORT);
    json!({
        "meshFile": null, "development": false, "developmentCaCert": null, "developmentCaKey": null,
        "xdsAddress": address, "xdsServerName": Istiod::NAME,
        "caAddress": address, "caServerName": Istiod::NAME,
        "rootCertFile": secrets.join("root.pem"), "tokenFile": secrets.join("token"),
        "podName": "agent-x", "podNamespace": "istio-system", "drainDeadline": "1s",
    })
}
