//! Pods that run are put into the mesh and taken out again, under load, by the pods file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use anyhow::{Context, Result, ensure};
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::mesh::{Belongs, Mesh};
use e2e_tests::pulse::Pulse;
use e2e_tests::{Agent, Call, Pod, World, until};
use serde_json::json;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const CYCLES: usize = 3;

/// Connections that are open, one of which says nothing until the end.
struct Open {
    pulses: Vec<Pulse>,
    silent: TcpStream,
}

impl Open {
    fn new(from: &Pod, to: [SocketAddr; 2]) -> Result<Self> {
        let mut pulses = Vec::new();
        for number in 0..4 {
            pulses.push(Pulse::start(from, to[number % 2])?);
        }
        let silent = app::connect(from, to[0])?;
        Ok(Self { pulses, silent })
    }

    fn all_live(self) -> Result<()> {
        app::exchange(&self.silent, b"after all this time").context("the silent one")?;
        for pulse in self.pulses {
            let rhythm = pulse.stop()?;
            ensure!(rhythm.slowest < Duration::from_secs(2), "hung: {rhythm:?}");
        }
        Ok(())
    }
}

/// What new connections saw.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    made: AtomicUsize,
}

impl Load {
    /// About fifty new connections a second from each caller's thread.
    fn run(&self, from: &Pod, to: SocketAddr) -> Result<()> {
        while !self.stop.load(Ordering::SeqCst) {
            let count = self.made.fetch_add(1, Ordering::SeqCst);
            app::echo(from, to, "new").with_context(|| format!("new connection {count}"))?;
            // The rhythm of the load; nothing waits for it.
            thread::sleep(Duration::from_millis(15));
        }
        Ok(())
    }
}

fn stage(agent: &Agent, pod: &Pod, wanted: Option<&str>) -> Result<()> {
    until(&format!("{} is {wanted:?}", pod.name), || {
        let stage = agent.stage(&pod.container())?;
        let told = agent.dump()?["troubles"].clone();
        ensure!(stage.as_deref() == wanted, "it is {stage:?}, {told}");
        Ok(())
    })
}

fn is_in(agent: &Agent, pod: &Pod) -> Result<()> {
    stage(agent, pod, Some("enrolled"))?;
    ensure!(pod.has_our_rules()? && pod.listeners()? == [15001, 15006, 15008]);
    Ok(())
}

fn is_out(agent: &Agent, pod: &Pod) -> Result<()> {
    stage(agent, pod, None)?;
    ensure!(!pod.has_our_rules()?, "left: {}", pod.rules()?);
    let listeners = pod.listeners()?;
    ensure!(listeners.is_empty(), "left: {listeners:?}");
    until("the state file without the pod", || {
        ensure!(!agent.state()?.contains(&pod.container()), "it is there");
        Ok(())
    })
}

#[test]
fn a_pod_is_put_in_and_taken_out_under_load_with_nft() {
    put_in_and_taken_out("nft");
}

#[test]
fn a_pod_is_put_in_and_taken_out_under_load_with_legacy_rules() {
    put_in_and_taken_out("legacy");
}

/// What an agent says that is not of ordinary connections.
fn complaints(agent: &Agent) -> String {
    let log = agent.log();
    let ordinary = |line: &&str| line.contains("connection complete") && !line.contains("error=");
    let said: Vec<&str> = log.lines().filter(|line| !ordinary(line)).collect();
    format!("the agent said:\n{}", said.join("\n"))
}

/// Captured connections of a direction that have ended.
fn ended(agent: &Agent, direction: &str) -> usize {
    let lines = e2e_netlab::log::access_lines(&agent.log());
    let of_it = lines
        .iter()
        .filter(|line| line.field("direction") == direction);
    of_it.count()
}

/// A pod of both roles, of which nobody else in the lab is in the mesh.
fn put_in_and_taken_out(backend: &str) {
    let world = World::new().unwrap();
    let pod = world.pod(Mesh::OUTSIDE, "pod").unwrap();
    let outside = world.pod(Mesh::OUTSIDE, "outside").unwrap();
    let mesh = |belongs, protocol| {
        Mesh::default()
            .running(&pod, belongs)
            .workload(&pod, protocol, &[])
    };
    let out = mesh(Belongs::Outside, "TCP");
    let settings = json!({"leaveDeadline": "1m", "iptablesBackend": backend});
    let agent = Agent::start(&world, "node-a", &out, &settings).unwrap();
    let _servers = [
        Server::start(&pod, 8080, Kind::Echo).unwrap(),
        Server::start(&outside, 8080, Kind::Echo).unwrap(),
    ];
    let called = Open::new(&pod, [outside.at(8080), outside.at6(8080)]).unwrap();
    let answered = Open::new(&outside, [pod.at(8080), pod.at6(8080)]).unwrap();
    let load = Load::default();
    thread::scope(|scope| {
        let loads = [
            scope.spawn(|| load.run(&pod, outside.at(8080))),
            scope.spawn(|| load.run(&pod, outside.at6(8080))),
            scope.spawn(|| load.run(&outside, pod.at(8080))),
            scope.spawn(|| load.run(&outside, pod.at6(8080))),
        ];
        let cycles = || -> Result<()> {
            for cycle in 0..CYCLES {
                agent.tell(&mesh(Belongs::Inside, "TCP"))?;
                is_in(&agent, &pod).with_context(|| format!("in, cycle {cycle}"))?;
                let captured = [
                    Open::new(&pod, [outside.at(8080), outside.at6(8080)])?,
                    Open::new(&outside, [pod.at(8080), pod.at6(8080)])?,
                ];
                until("the load is captured both ways", || {
                    let counts = ["outbound", "inbound"].map(|way| ended(&agent, way));
                    ensure!(
                        counts.iter().all(|count| *count >= 20 * (cycle + 1)),
                        "{counts:?}"
                    );
                    Ok(())
                })?;
                agent.tell(&out)?;
                stage(&agent, &pod, Some("draining: nothing new is captured"))?;
                for open in captured {
                    open.all_live().context("captured ones, draining")?;
                }
                is_out(&agent, &pod).with_context(|| format!("out, cycle {cycle}"))?;
            }
            Ok(())
        };
        let outcome = cycles();
        load.stop.store(true, Ordering::SeqCst);
        for load in loads {
            if let Err(error) = load.join().unwrap() {
                panic!("{error:#}; {}", complaints(&agent));
            }
        }
        if let Err(error) = outcome {
            panic!("{error:#}; {}", complaints(&agent));
        }
    });
    for (open, what) in [(called, "called"), (answered, "answered")] {
        if let Err(error) = open.all_live() {
            panic!("{what}: {error:#}; {}", complaints(&agent));
        }
    }
    assert!(
        load.made.load(Ordering::SeqCst) > 100 * CYCLES,
        "hardly any load"
    );
}

/// A pod whose peer is in the mesh: it is reached by tunnel while it is in, past it before and
/// after, and the switch costs nobody a connection.
#[test]
fn a_server_changes_sides_under_a_client_of_the_mesh() {
    let world = World::new().unwrap();
    let client = world.pod(Mesh::NAMESPACE, "client").unwrap();
    let server = world.pod(Mesh::OUTSIDE, "server").unwrap();
    let mesh = |belongs, protocol| {
        let mesh = Mesh::default()
            .pod(&client)
            .workload(&server, protocol, &[]);
        mesh.running(&server, belongs)
    };
    let out = mesh(Belongs::Outside, "TCP");
    let agents = [
        Agent::start(&world, "node-a", &out, &json!({})).unwrap(),
        // Longer than what is captured takes to end; unused tunnels may be left then.
        Agent::start(&world, "node-b", &out, &json!({"leaveDeadline": "10s"})).unwrap(),
    ];
    Call::new("ADD", &client, &agents[0].socket())
        .succeed()
        .unwrap();
    let _server = Server::start(&server, 8080, Kind::Echo).unwrap();
    // The client's agent hears of the server only from the mesh.
    let know = |protocol| {
        agents[0].tell(
            &Mesh::default()
                .pod(&client)
                .workload(&server, protocol, &[]),
        )
    };
    let before = Open::new(&client, [server.at(8080), server.at6(8080)]).unwrap();
    let load = Load::default();
    thread::scope(|scope| {
        let loads = [
            scope.spawn(|| load.run(&client, server.at(8080))),
            scope.spawn(|| load.run(&client, server.at6(8080))),
        ];
        let cycles = || -> Result<()> {
            for cycle in 0..CYCLES {
                agents[1].tell(&mesh(Belongs::Inside, "TCP"))?;
                is_in(&agents[1], &server).with_context(|| format!("in, cycle {cycle}"))?;
                agents[1].tell(&mesh(Belongs::Inside, "HBONE"))?;
                know("HBONE")?;
                let seen = load.made.load(Ordering::SeqCst);
                until("some load in the mesh", || {
                    let more = load.made.load(Ordering::SeqCst) - seen;
                    ensure!(more > 60, "{more} connections");
                    Ok(())
                })?;
                let captured = Open::new(&client, [server.at(8080), server.at6(8080)])?;
                agents[1].tell(&mesh(Belongs::Outside, "HBONE"))?;
                stage(
                    &agents[1],
                    &server,
                    Some("draining: nothing new is captured"),
                )?;
                // The client hears of it last.
                agents[1].tell(&out)?;
                know("TCP")?;
                captured.all_live().context("captured ones, draining")?;
                is_out(&agents[1], &server).with_context(|| format!("out, cycle {cycle}"))?;
            }
            Ok(())
        };
        let outcome = cycles();
        load.stop.store(true, Ordering::SeqCst);
        for load in loads {
            load.join().unwrap().unwrap();
        }
        if let Err(error) = outcome {
            panic!("{error:#}");
        }
    });
    before.all_live().unwrap();
    let lines = e2e_netlab::log::access_lines(&agents[1].log());
    let by_tunnel = lines
        .iter()
        .filter(|line| line.field("src.identity") == client.spiffe());
    assert!(by_tunnel.count() > 60, "hardly any came by tunnel");
}

/// Towards the application the tunnel takes the client's address with a port of its own choice. The
/// same client's connections past the tunnel have ports too, and two that are equal would be one
/// connection to the pod.
#[test]
fn what_is_captured_does_not_take_the_place_of_what_is_spared() {
    let world = World::new().unwrap();
    let pod = world.pod(Mesh::OUTSIDE, "pod").unwrap();
    let outside = world.pod(Mesh::OUTSIDE, "outside").unwrap();
    let mesh = |belongs| {
        Mesh::default()
            .running(&pod, belongs)
            .workload(&pod, "TCP", &[])
    };
    let agent = Agent::start(&world, "node-a", &mesh(Belongs::Outside), &json!({})).unwrap();
    let _server = Server::start(&pod, 8080, Kind::Echo).unwrap();
    let to = [pod.at(8080), pod.at6(8080)];
    let spared: Vec<TcpStream> = (0..600)
        .map(|number| app::connect(&outside, to[number % 2]).unwrap())
        .collect();
    // Were the choice left to the pod's kernel, it would now be one of these.
    let ports: Vec<u16> = spared
        .iter()
        .map(|s| s.local_addr().unwrap().port())
        .collect();
    let range = format!(
        "{} {}",
        ports.iter().min().unwrap(),
        ports.iter().max().unwrap()
    );
    let setting = "/proc/sys/net/ipv4/ip_local_port_range";
    pod.netns
        .run(|| std::fs::write(setting, range))
        .unwrap()
        .unwrap();
    agent.tell(&mesh(Belongs::Inside)).unwrap();
    is_in(&agent, &pod).unwrap();
    thread::scope(|scope| {
        for to in to {
            let outside = &outside;
            scope.spawn(move || (0..1_000).for_each(|_| app::echo(outside, to, "x").unwrap()));
        }
    });
    for stream in &spared {
        app::exchange(stream, b"spared").unwrap();
    }
}

/// What does not end is cut when the time is up, and nothing is left.
#[test]
fn a_restarted_agent_takes_out_what_was_on_its_way() {
    let world = World::new().unwrap();
    let pod = world.pod(Mesh::OUTSIDE, "pod").unwrap();
    let outside = world.pod(Mesh::OUTSIDE, "outside").unwrap();
    let mesh = |belongs| {
        Mesh::default()
            .running(&pod, belongs)
            .workload(&pod, "TCP", &[])
    };
    let long = json!({"leaveDeadline": "1m"});
    let mut agent = Agent::start(&world, "node-a", &mesh(Belongs::Inside), &long).unwrap();
    let _server = Server::start(&outside, 8080, Kind::Echo).unwrap();
    is_in(&agent, &pod).unwrap();
    let captured = app::connect(&pod, outside.at(8080)).unwrap();
    app::exchange(&captured, b"in").unwrap();
    agent.tell(&mesh(Belongs::Outside)).unwrap();
    stage(&agent, &pod, Some("draining: nothing new is captured")).unwrap();
    app::exchange(&captured, b"draining").unwrap();
    agent.end(nix::sys::signal::Signal::SIGKILL).unwrap();
    app::echo(&pod, outside.at(8080), "nobody serves, nothing is captured").unwrap();
    agent.start_again().unwrap();
    is_out(&agent, &pod).unwrap();
    // Of the captured one nothing may leave in clear.
    assert!(app::exchange(&captured, b"out").is_err());

    // A DEL in the middle of a drain.
    agent.tell(&mesh(Belongs::Inside)).unwrap();
    is_in(&agent, &pod).unwrap();
    let captured = app::connect(&pod, outside.at(8080)).unwrap();
    app::exchange(&captured, b"in").unwrap();
    agent.tell(&mesh(Belongs::Outside)).unwrap();
    stage(&agent, &pod, Some("draining: nothing new is captured")).unwrap();
    Call::new("DEL", &pod, &agent.socket()).succeed().unwrap();
    is_out(&agent, &pod).unwrap();
}
