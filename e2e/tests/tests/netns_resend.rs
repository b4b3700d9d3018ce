//! The server's agent is killed while new connections come in: those that are being made survive, those that it
//! carried end with a reset.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; the times are part of their answer"
)]

use anyhow::{Context, Result, ensure};
use e2e_netlab::log::{AccessLine, access_lines};
use e2e_netlab::{Part, ProcessId};
use e2e_tests::agent::since;
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::inside::halt;
use e2e_tests::load::{Call as Connection, Load};
use e2e_tests::mesh::Mesh;
use e2e_tests::{Agent, Pod, World, until};
use nix::sys::signal::Signal;
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const RATE: u32 = 200;

struct Shop {
    agents: [Agent; 2],
    client: Pod,
    server: Pod,
    outside: Pod,
    _world: World,
}

impl Shop {
    fn open() -> Result<Self> {
        let world = World::new()?;
        let client = world.pod(Mesh::NAMESPACE, "client")?;
        let server = world.pod(Mesh::NAMESPACE, "server")?;
        let outside = world.pod(Mesh::OUTSIDE, "outside")?;
        let mesh = Mesh::default().pod(&client).pod(&server);
        let agents = Agent::of_two_nodes(&world, &mesh, &json!({}), [&client, &server])?;
        Ok(Self {
            agents,
            client,
            server,
            outside,
            _world: world,
        })
    }
}

fn resends(agent: &Agent) -> Result<u64> {
    let metrics = agent.metrics()?;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("ambient_tunnel_resends_total"));
    let value = line.and_then(|line| line.rsplit(' ').next());
    Ok(value.context("no such counter")?.parse()?)
}

fn failures<'a>(calls: impl IntoIterator<Item = &'a Connection>) -> Vec<String> {
    calls
        .into_iter()
        .filter_map(|call| Some(format!("after {:?}: {}", call.took, call.failure.as_ref()?)))
        .collect()
}

/// The agent's process that carries connections.
fn worker(agent: &Agent) -> Result<ProcessId> {
    let all = agent.processes()?;
    let worker = all.iter().find(|one| one.part == Part::Worker);
    Ok(worker.context("no worker")?.id)
}

/// Kills the worker alone; there is another one afterwards. Gives when the old one was dead.
fn replace_worker(agent: &Agent, old: ProcessId) -> Result<Instant> {
    old.signal(Signal::SIGKILL)?;
    until("the worker's end", || {
        ensure!(!old.alive(), "it lives");
        Ok(())
    })?;
    let dead = Instant::now();
    until("another worker", || worker(agent))?;
    Ok(dead)
}

/// Ends the server's agent, or its worker, three times under load, and has it back. `end` gives when it carried last:
/// only what it was carrying then may fail. Gives how many streams were opened again.
fn under_load(shop: &mut Shop, end: impl Fn(&mut Agent) -> Result<Instant>) -> Result<u64> {
    let _app = Server::start(&shop.server, 8080, Kind::Echo)?;
    let to = shop.server.at(8080);
    app::echo(&shop.client, to, "first")?;
    let load = Load::start(&shop.client, to, RATE);
    let mut deaths = Vec::new();
    for _ in 0..3 {
        // The load's own time; the deaths fall into the middle of it.
        std::thread::sleep(Duration::from_millis(700));
        let began = Instant::now();
        let last = end(&mut shop.agents[1])?;
        deaths.push((began, last));
        println!("back {} after it ran last", since(last));
    }
    let mut others = 1;
    until("calls go through again", || {
        others += 1;
        app::echo(&shop.client, to, "again")
    })?;
    let calls = load.stop()?;
    until("one access line for each connection", || {
        let lines = access_lines(&shop.agents[0].log());
        let made = |line: &&AccessLine| line.field("direction") == "outbound";
        let (lines, all) = (lines.iter().filter(made).count(), calls.len() + others);
        ensure!(lines == all, "{lines} lines for {all} connections");
        Ok(())
    })?;
    let again = resends(&shop.agents[0])?;
    let longest = calls.iter().map(|call| call.took).max();
    println!(
        "{} calls, the longest took {longest:?}, {again} streams opened again",
        calls.len()
    );
    let (carried, others): (Vec<_>, Vec<_>) = calls.iter().partition(|call| {
        let (from, to) = (call.began, call.began + call.took);
        deaths
            .iter()
            .any(|(began, last)| from <= *last && to >= *began)
    });
    let (may, must_not) = (failures(carried), failures(others));
    println!("{} failed that it carried: {may:#?}", may.len());
    ensure!(must_not.is_empty(), "{}: {must_not:#?}", must_not.len());
    ensure!(calls.len() > 400, "{} calls are no load", calls.len());
    Ok(again)
}

#[test]
fn connections_that_are_made_while_the_servers_agent_is_dead_survive() {
    let mut shop = Shop::open().unwrap();
    under_load(&mut shop, |agent| {
        agent.end(Signal::SIGKILL)?;
        let last = Instant::now();
        agent.start_again()?;
        Ok(last)
    })
    .unwrap();
}

#[test]
fn connections_that_are_made_while_the_servers_worker_is_dead_survive() {
    let mut shop = Shop::open().unwrap();
    under_load(&mut shop, |agent| replace_worker(agent, worker(agent)?)).unwrap();
}

#[test]
fn connections_that_a_dead_worker_had_received_and_not_answered_survive() {
    let mut shop = Shop::open().unwrap();
    let again = under_load(&mut shop, |agent| {
        let old = worker(agent)?;
        halt(old)?;
        let last = Instant::now();
        // The kernel goes on receiving for it, and the load goes on sending.
        std::thread::sleep(Duration::from_millis(300));
        replace_worker(agent, old)?;
        Ok(last)
    })
    .unwrap();
    assert!(again >= 50, "only {again} streams had to be opened again");
}

/// An application that speaks without end; gives the error that its connection ends with.
fn speaker(pod: &Pod, port: u16) -> Result<std::thread::JoinHandle<std::io::Error>> {
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let listener = pod.netns.run(|| TcpListener::bind(any))??;
    Ok(std::thread::spawn(move || speak(&listener).unwrap_err()))
}

fn speak(listener: &TcpListener) -> std::io::Result<()> {
    let mut stream = listener.accept()?.0;
    loop {
        stream.write_all(&[5; 4096])?;
    }
}

/// Reads to the end, whatever it is.
fn listen_to_the_end(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut room = vec![0; 64 * 1024];
    while stream.read(&mut room)? > 0 {}
    Ok(())
}

/// Kills an agent in the middle of a transfer that `from` reads; both applications must see a reset.
fn both_ends_are_reset(shop: &mut Shop, killed: usize, from: &str, to: &str) -> Result<()> {
    let pod = |name: &str| match name {
        "client" => &shop.client,
        "server" => &shop.server,
        _ => &shop.outside,
    };
    let speaking = speaker(pod(to), 9000)?;
    let mut reader = app::connect(pod(from), pod(to).at(9000))?;
    reader.read_exact(&mut vec![0; 1_000_000])?;
    shop.agents[killed].end(Signal::SIGKILL)?;
    let ends = [
        listen_to_the_end(&reader).err().map(|error| error.kind()),
        speaking.join().ok().map(|error| error.kind()),
    ];
    // Whoever is writing when it learns of the reset may be told by the second write.
    let reset = |end: &Option<ErrorKind>| {
        matches!(
            end,
            Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
        )
    };
    ensure!(ends[0] == Some(ErrorKind::ConnectionReset), "{ends:?}");
    ensure!(reset(&ends[1]), "{ends:?}");
    shop.agents[killed].start_again()?;
    Ok(())
}

#[test]
fn what_a_killed_agent_carried_ends_with_a_reset() {
    let mut shop = Shop::open().unwrap();
    for (killed, from, to) in [
        // By tunnel: the end that it served itself, and the one behind the other node.
        (0, "client", "server"),
        (1, "client", "server"),
        // Past the mesh, and in from outside in clear.
        (0, "client", "outside"),
        (1, "outside", "server"),
    ] {
        until("the pods are served", || {
            let _app = Server::start(&shop.server, 8080, Kind::Echo)?;
            app::echo(&shop.client, shop.server.at(8080), "ready?")?;
            app::echo(&shop.outside, shop.server.at(8080), "ready?")
        })
        .unwrap();
        both_ends_are_reset(&mut shop, killed, from, to)
            .with_context(|| format!("agent {killed} killed, {from} reads from {to}"))
            .unwrap();
    }
}
