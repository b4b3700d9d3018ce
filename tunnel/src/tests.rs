#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;
use tunnel_hbone::{AppStream, Incoming};

use crate::inbound::Peer;
use crate::pod::Pod;

fn size3<A, B, C, F: Future>(_: impl FnOnce(A, B, C) -> F) -> usize {
    size_of::<F>()
}

fn size4<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
    size_of::<F>()
}

/// Every byte of these is paid for each live connection.
#[test]
fn what_a_connection_costs() {
    let sizes = [
        (
            "outbound",
            size3(|p: Rc<Pod>, s: AppStream, a: SocketAddr| crate::outbound::serve(p, s, a)),
            800,
        ),
        (
            "plaintext",
            size4(|p: Rc<Pod>, s: AppStream, a: SocketAddr, n: u64| {
                crate::plaintext::serve(p, s, a, n)
            }),
            800,
        ),
        (
            "stream",
            size4(|p: Rc<Pod>, q: Rc<Peer>, i: Incoming, n: u64| crate::stream::serve(p, q, i, n)),
            1000,
        ),
        (
            "tunnel",
            size4(|p: Rc<Pod>, s: TcpStream, a: SocketAddr, t: u64| {
                crate::inbound::serve(p, s, a, t)
            }),
            4000,
        ),
    ];
    for (what, size, limit) in sizes {
        assert!(
            size <= limit,
            "{what} costs {size} bytes, more than {limit}"
        );
    }
}
