//! What requests and connections cost each node, in figures that do not depend on the clock: system calls, memory,
//! descriptors, instructions. Only builds with optimizations are measured, as these are what ships.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; the figures are part of their answer"
)]

mod calls;
mod decisions;
mod idle;
mod scene;

use calls::{Calls, Trace};
use e2e_tests::app::{self, Kind, Server};
use e2e_tests::until;
use idle::{Idle, Keeper};
use scene::{NODES, PORT, Scene};
use serde_json::json;
use std::sync::{Mutex, PoisonError};

const REQUESTS: usize = 2000;
const NEW_CONNECTIONS: usize = 500;
const MESSAGE: [u8; 128] = [7; 128];
/// So that pools are filled and tables have grown before anything is counted.
const WARM_UP: usize = 100;

/// What the agent opens on one tunnel before it makes another.
const STREAMS_OF_TUNNEL: usize = 100;

/// Hundredths of a system call for a request, on either node. Three for each direction are needed, to receive, to send and
/// to wait; 6.02 were seen, with what happens beside.
const CALLS_OF_REQUEST: u64 = 620;
/// The same for a connection that is made, carries one request and ends, on the caller's and the server's node. Seen were
/// up to 21.2 and 20.3.
const CALLS_OF_CONNECTION: [u64; 2] = [2340, 2240];
/// Bytes of memory for a connection that is open and has carried one request. Seen were up to 2350 and 2520; no
/// more than 3072 are wanted.
const BYTES_OF_CONNECTION: [u64; 2] = [2600, 2800];

/// Each wants the machine to itself.
static TURN: Mutex<()> = Mutex::new(());

#[test]
fn system_calls_of_a_request() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let scene = Scene::open(&json!({})).unwrap();
    let _app = Server::start(&scene.server, PORT, Kind::Echo).unwrap();
    let open = app::connect(&scene.client, scene.server.at(PORT)).unwrap();
    for _ in 0..WARM_UP {
        app::exchange(&open, &MESSAGE).unwrap();
    }
    let seen = traced(&scene, || {
        for _ in 0..REQUESTS {
            app::exchange(&open, &MESSAGE).unwrap();
        }
    });
    judge(&seen, "request", REQUESTS, [CALLS_OF_REQUEST; 2]);
}

#[test]
fn system_calls_of_a_new_connection() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let scene = Scene::open(&json!({})).unwrap();
    let _app = Server::start(&scene.server, PORT, Kind::Echo).unwrap();
    let message = "x".repeat(MESSAGE.len());
    let call = || app::echo(&scene.client, scene.server.at(PORT), &message).unwrap();
    for _ in 0..WARM_UP {
        call();
    }
    until("the first have ended", || scene.all_told(WARM_UP)).unwrap();
    let seen = traced(&scene, || {
        for _ in 0..NEW_CONNECTIONS {
            call();
        }
        // What a connection's end costs is counted too.
        let all = WARM_UP + NEW_CONNECTIONS;
        until("all have ended", || scene.all_told(all)).unwrap();
    });
    judge(&seen, "connection", NEW_CONNECTIONS, CALLS_OF_CONNECTION);
}

#[test]
fn an_idle_connection_is_small_and_leaves_no_descriptor() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    idle::raise_descriptors().unwrap();
    // Sockets in stock would be counted as what a connection left.
    let scene = Scene::open(&json!({"socketStock": 0})).unwrap();
    let keeper = Keeper::start(&scene.server, PORT, MESSAGE.len()).unwrap();
    let before = scene.descriptors().unwrap();
    let warm = Idle::open(&scene, WARM_UP, &MESSAGE).unwrap();
    let first = scene.anonymous().unwrap();
    let many = Idle::open(&scene, idle::CONNECTIONS, &MESSAGE).unwrap();
    let then = scene.anonymous().unwrap();
    drop((warm, many, keeper));
    // Tunnels stay for the next connection.
    let tunnels = (WARM_UP + idle::CONNECTIONS).div_ceil(STREAMS_OF_TUNNEL);
    let most = before.map(|count| count + tunnels);
    until("all descriptors are closed", || scene.no_more_than(most)).unwrap();
    println!(
        "{:?} descriptors, before it were {before:?}",
        scene.descriptors().unwrap()
    );
    let mut beyond = Vec::new();
    for (node, most) in BYTES_OF_CONNECTION.iter().enumerate() {
        let each = then[node].saturating_sub(first[node]) / idle::CONNECTIONS as u64;
        let text = format!(
            "{}: {each} bytes for an idle connection, at most {most}",
            NODES[node]
        );
        println!("{text}");
        // None at all would mean that nothing was seen.
        if each == 0 || each > *most {
            beyond.push(text);
        }
    }
    assert_eq!(beyond, [""; 0]);
}

#[test]
fn instructions_of_a_decision() {
    // Others need not wait for a build.
    let hot = decisions::built().unwrap();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(decisions::beyond(&hot).unwrap(), [""; 0]);
}

/// The system calls of each node's worker while something is done.
fn traced(scene: &Scene, act: impl FnOnce()) -> [Calls; 2] {
    let traces = scene.workers().unwrap().map(|worker| {
        let directory = scene.world.directory();
        Trace::start(worker, directory).unwrap()
    });
    act();
    traces.map(|trace| trace.stop().unwrap())
}

fn judge(seen: &[Calls; 2], what: &str, count: usize, most: [u64; 2]) {
    let count = count as u64;
    let mut beyond = String::new();
    for (node, name) in NODES.iter().enumerate() {
        let table = seen[node].table(name, what, count, most[node]);
        println!("{table}");
        // None at all would mean that nothing was seen.
        if seen[node].total() < count || seen[node].total() * 100 > most[node] * count {
            beyond += &table;
        }
    }
    assert!(beyond.is_empty(), "too many system calls:\n{beyond}");
}
