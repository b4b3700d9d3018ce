//! What a handshake costs each side, by preferred key exchange, and resumed: both ends in one thread, in
//! memory, so that nothing but computation is counted.
//!
//! `cargo run --release -p tunnel-credentials --features test-util --example handshake_cost`
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program"
)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519, X25519MLKEM768};
use rustls::{ClientConnection, ServerConnection};
use rustls_pki_types::ServerName;
use tunnel_credentials::{Certificate, TestAuthority};
use tunnel_model::Identity;

const ROUNDS: usize = 4000;

/// Time spent in the client and in the server, and bytes each sent, for one handshake.
fn handshake(
    client: &Certificate,
    server: &Certificate,
    resume: bool,
) -> ([Duration; 2], [usize; 2]) {
    let (mut spent, mut sent) = ([Duration::ZERO; 2], [0_usize; 2]);
    let address = IpAddr::from([10, 0, 0, 1]);
    if !resume {
        client.forget_sessions(address);
    }
    let name = ServerName::IpAddress(address.into());
    let start = Instant::now();
    let mut client = ClientConnection::new(client.client.clone(), name).unwrap();
    spent[0] += start.elapsed();
    let start = Instant::now();
    let mut server = ServerConnection::new(server.server.clone()).unwrap();
    spent[1] += start.elapsed();
    let mut wire = Vec::new();
    while client.is_handshaking() || server.is_handshaking() {
        wire.clear();
        let start = Instant::now();
        while client.wants_write() {
            sent[0] += client.write_tls(&mut wire).unwrap();
        }
        spent[0] += start.elapsed();
        let start = Instant::now();
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().unwrap();
        }
        let mut back = Vec::new();
        while server.wants_write() {
            sent[1] += server.write_tls(&mut back).unwrap();
        }
        spent[1] += start.elapsed();
        let start = Instant::now();
        let mut rest = back.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().unwrap();
        }
        spent[0] += start.elapsed();
    }
    (spent, sent)
}

fn certificates(
    authority: &TestAuthority,
    preferences: &[&'static dyn SupportedKxGroup],
) -> [Certificate; 2] {
    ["client", "server"].map(|account| {
        let identity = Identity::new("cluster.local", "bench", account).unwrap();
        authority.certificate_preferring(&identity, preferences)
    })
}

fn main() {
    let authority = TestAuthority::new("bench");
    let hybrid_first: &[&dyn SupportedKxGroup] = &[X25519MLKEM768, X25519, SECP256R1];
    let classic_first: &[&dyn SupportedKxGroup] = &[X25519, X25519MLKEM768, SECP256R1];
    let resumed = "both prefer X25519MLKEM768, resumed";
    let cases = [
        ("both prefer X25519MLKEM768", hybrid_first, hybrid_first),
        (resumed, hybrid_first, hybrid_first),
        ("both prefer X25519", classic_first, classic_first),
        (
            "client X25519MLKEM768, server X25519",
            hybrid_first,
            classic_first,
        ),
        (
            "client X25519, server X25519MLKEM768",
            classic_first,
            hybrid_first,
        ),
    ]
    .map(|(name, client, server)| {
        let [client, _] = certificates(&authority, client);
        let [_, server] = certificates(&authority, server);
        (name, Arc::new(client), Arc::new(server))
    });
    // All cases in turn, so that a noisy neighbour hits all alike, and the fastest quarter, which
    // is what the computation costs when nothing else gets in its way.
    let mut results: Vec<[Vec<Duration>; 2]> = vec![[Vec::new(), Vec::new()]; cases.len()];
    let mut bytes = vec![[0; 2]; cases.len()];
    for _ in 0..ROUNDS {
        for (place, (name, client, server)) in cases.iter().enumerate() {
            let (spent, sent) = handshake(client, server, *name == resumed);
            for side in 0..2 {
                results[place][side].push(spent[side]);
            }
            bytes[place] = sent;
        }
    }
    println!(
        "{:40} {:>10} {:>10} {:>14}",
        "", "client", "server", "bytes c / s"
    );
    for ((name, ..), (mut spent, [from_client, from_server])) in
        cases.iter().zip(results.into_iter().zip(bytes))
    {
        let [client, server] = [0, 1].map(|side| {
            spent[side].sort();
            spent[side][spent[side].len() / 4].as_nanos() / 1000
        });
        println!("{name:40} {client:>7} µs {server:>7} µs {from_client:>7} / {from_server}");
    }
}
