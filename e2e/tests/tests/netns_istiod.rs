//! The mesh and its certificates come from istiod. It goes away, comes back with other roots, and the agent's token is
//! rotated as the kubelet does it, while connections go on.
#![allow(clippy::unwrap_used, reason = "tests")]

use anyhow::{Context, Result, ensure};
use e2e_netlab::Part;
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::inside::only;
use e2e_tests::istiod::{Istiod, Told};
use e2e_tests::mesh::Mesh;
use e2e_tests::wire::Capture;
use e2e_tests::{Agent, Call, Pod, World, until};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

const MARKER: &str = "told-by-istiod-never-in-clear";

struct Cluster {
    istiod: Option<Istiod>,
    agent: Agent,
    client: Pod,
    server: Pod,
    _app: Server,
    secrets: PathBuf,
    world: World,
}

impl Cluster {
    fn open() -> Result<Self> {
        Self::telling(|client, server| {
            let told = Told::default().pod(client, &[]);
            told.pod(server, &["strict"]).strict("strict")
        })
    }

    fn telling(told: impl FnOnce(&Pod, &Pod) -> Told) -> Result<Self> {
        let world = World::new()?;
        let client = world.pod(Mesh::NAMESPACE, "client")?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let secrets = world.directory().join("secrets");
        for directory in ["istio", "tokens"] {
            std::fs::create_dir_all(secrets.join(directory))?;
        }
        project(&secrets, "first")?;
        let told = told(&client, &server);
        let mut istiod = None;
        let mesh = Mesh::default().expected(&client).expected(&server);
        let agent = Agent::start_beside(&world, "node", &mesh, &settings(&secrets), |netns| {
            istiod = Some(Istiod::start(netns, told, Some(&root(&secrets)))?);
            Ok(())
        })?;
        for pod in [&client, &server] {
            Call::new("ADD", pod, &agent.socket()).succeed()?;
        }
        let app = Server::start(&server, 8080, Kind::Echo)?;
        Ok(Self {
            istiod,
            agent,
            client,
            server,
            _app: app,
            secrets,
            world,
        })
    }

    fn call(&self) -> Result<()> {
        app::echo(&self.client, self.server.at(8080), MARKER)?;
        app::echo(&self.client, self.server.at6(8080), MARKER)
    }

    fn calls_go_through(&self) {
        until("calls go through", || self.call()).unwrap();
    }

    fn istiod(&self) -> &Istiod {
        self.istiod.as_ref().unwrap()
    }

    /// What the agent says of its control plane.
    fn control_plane(&self) -> Result<Value> {
        Ok(self.agent.dump()?["controlPlane"].clone())
    }

    fn wait_for_state(&self, state: &str) -> Value {
        until(&format!("the control plane is {state}"), || {
            let now = self.control_plane()?;
            ensure!(now["state"] == state, "{now}");
            Ok(now)
        })
        .unwrap()
    }
}

fn root(secrets: &Path) -> PathBuf {
    secrets.join("istio/root-cert.pem")
}

/// Puts a token in place as the kubelet does: into a directory of its own, which a link is turned to.
fn project(secrets: &Path, token: &str) -> Result<()> {
    let tokens = secrets.join("tokens");
    std::fs::create_dir(tokens.join(token))?;
    std::fs::write(tokens.join(token).join("istio-token"), token)?;
    symlink(token, tokens.join("..data_tmp"))?;
    std::fs::rename(tokens.join("..data_tmp"), tokens.join("..data"))?;
    let path = tokens.join("istio-token");
    if !path.is_symlink() {
        symlink("..data/istio-token", path)?;
    }
    Ok(())
}

fn settings(secrets: &Path) -> Value {
    // By name, which the confined worker has to resolve; and proved to be another.
    let address = format!("localhost:{}", Istiod::PORT);
    json!({
        "meshFile": null, "development": false, "developmentCaCert": null, "developmentCaKey": null,
        "xdsAddress": address, "xdsServerName": Istiod::NAME,
        "caAddress": address, "caServerName": Istiod::NAME,
        "rootCertFile": root(secrets), "tokenFile": secrets.join("tokens/istio-token"),
        "podName": "agent-x", "podNamespace": "istio-system", "drainDeadline": "1s",
    })
}

#[test]
fn everything_comes_from_istiod() {
    let cluster = Cluster::open().unwrap();
    let capture = Capture::start(&cluster.world).unwrap();
    cluster.calls_go_through();
    let seen = cluster.istiod().seen();
    assert_eq!(seen.tokens, ["Bearer first"]);
    let signed: BTreeSet<_> = seen.signed.iter().map(String::as_str).collect();
    let pods = [cluster.client.spiffe(), cluster.server.spiffe()];
    assert_eq!(signed, pods.iter().map(String::as_str).collect());

    // STRICT is a policy, and it is told like any other.
    let outsider = cluster.world.pod(Mesh::OUTSIDE, "outsider").unwrap();
    app::echo(&outsider, cluster.server.at(8080), "no secret").unwrap_err();

    // What cannot be read is rejected; what comes with it is in force.
    let (client, server) = (&cluster.client, &cluster.server);
    cluster.istiod().tell(|told| {
        let told = told.pod(server, &["strict", "closed"]).closed("closed");
        told.nonsense("Kubernetes//Pod/shop/odd")
    });
    until("calls are refused", || {
        ensure!(cluster.call().is_err(), "they go through");
        Ok(())
    })
    .unwrap();
    until("istiod hears of it", || {
        let rejected = cluster.istiod().seen().rejected;
        let why = rejected.first().context("nothing was rejected")?;
        ensure!(why.starts_with("Kubernetes//Pod/shop/odd: "), "{why}");
        Ok(())
    })
    .unwrap();
    let nack = cluster.control_plane().unwrap()["lastNack"].clone();
    assert_eq!(nack["rejected"], 1, "{nack}");
    let text = cluster.agent.status().unwrap();
    assert!(text.contains("control plane: connected since"), "{text}");
    assert!(text.contains("control plane: 1 rejected at"), "{text}");
    let metrics = cluster.agent.metrics().unwrap();
    assert!(metrics.contains("ambient_xds_connected 1\n"), "{metrics}");

    cluster
        .istiod()
        .tell(|_| Told::default().pod(client, &[]).pod(server, &[]));
    cluster.calls_go_through();
    let seen = capture.stop().unwrap();
    assert_eq!(seen.count(MARKER), 0, "payload in clear");
    assert!(seen.ports.contains(&15008), "{:?}", seen.ports);
}

#[test]
fn istiod_goes_away_and_comes_back_with_another_root() {
    let mut cluster = Cluster::open().unwrap();
    cluster.calls_go_through();
    let told = cluster.istiod().told();
    cluster.istiod = None;
    let now = cluster.wait_for_state("waiting to connect again");
    assert!(now["lastFailure"].is_string(), "{now}");
    // The last good state keeps serving.
    cluster.call().unwrap();

    project(&cluster.secrets, "second").unwrap();
    let netns = cluster.agent.netns();
    let (server, client) = (&cluster.server, &cluster.client);
    let told = told.pod(server, &["strict", "closed"]).closed("closed");
    let stranger = Istiod::start(netns, told.clone(), None).unwrap();
    until("a stranger is not believed", || {
        let now = cluster.control_plane()?;
        let why = now["lastFailure"].as_str().context("no failure")?;
        ensure!(why.contains("not signed by a root"), "{why}");
        Ok(())
    })
    .unwrap();
    assert_eq!(stranger.seen().tokens, [""; 0]);
    cluster.call().unwrap();
    drop(stranger);

    let istiod = Istiod::start(netns, told, Some(&root(&cluster.secrets))).unwrap();
    let now = cluster.wait_for_state("connected");
    assert!(now["lastFailure"].is_string(), "{now}");
    until("the control plane has been asked", || {
        let seen = istiod.seen();
        ensure!(seen.tokens == ["Bearer second"], "{:?}", seen.tokens);
        // Two workloads and a policy were known.
        ensure!(seen.known == [3], "{:?}", seen.known);
        Ok(())
    })
    .unwrap();
    until("what changed meanwhile is in force", || {
        ensure!(cluster.call().is_err(), "calls go through");
        Ok(())
    })
    .unwrap();
    istiod.tell(|_| Told::default().pod(client, &[]).pod(server, &[]));
    cluster.calls_go_through();
}

#[test]
fn a_pod_that_istiod_has_not_told_of_is_reached_by_tunnel_under_all_policies_that_may_select_it() {
    let told = |client: &Pod, _: &Pod| Told::default().pod(client, &[]).strict("strict");
    let mut cluster = Cluster::telling(told).unwrap();
    cluster.istiod = None;
    cluster.wait_for_state("waiting to connect again");
    let capture = Capture::start(&cluster.world).unwrap();
    cluster.call().unwrap();
    // A policy that is about plaintext may select it.
    let outsider = cluster.world.pod(Mesh::OUTSIDE, "outsider").unwrap();
    app::refused(&outsider, cluster.server.at(8080), "no secret").unwrap();
    let why = [
        "explicitly denied by: shop/strict",
        "has not told of this pod",
    ];
    cluster.agent.wait_for_log(&why).unwrap();
    let seen = capture.stop().unwrap();
    assert_eq!(seen.count(MARKER), 0, "payload in clear");
}

#[test]
fn a_new_worker_asks_for_everything_again() {
    let cluster = Cluster::open().unwrap();
    cluster.calls_go_through();
    let worker = only(&cluster.agent, Part::Worker).unwrap();
    worker.signal(Signal::SIGKILL).unwrap();
    cluster.calls_go_through();
    until("a second stream has begun", || {
        let seen = cluster.istiod().seen();
        ensure!(seen.known == [0, 0], "{:?}", seen.known);
        Ok(())
    })
    .unwrap();
}
