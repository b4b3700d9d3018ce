//! What the kernel does with connections once a plan is in: which listener gets them. Needs root.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt};
use node_agent_namespace::{Netns, apply, enter};
use node_agent_redirect::{Backend, RedirectPlan};

const PATIENCE: Duration = Duration::from_secs(5);

fn run(ns: &Netns, line: &str) -> String {
    let output = enter(ns, || {
        Command::new("sh").args(["-c", line]).output().unwrap()
    })
    .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A pod and a peer, connected by a wire; the pod's rules are in.
fn pod_and_peer(backend: Backend) -> (Netns, Netns) {
    let (pod, peer) = (Netns::create().unwrap(), Netns::create().unwrap());
    let fd = std::os::fd::AsRawFd::as_raw_fd(&std::os::fd::AsFd::as_fd(&peer));
    let there = format!("/proc/{}/fd/{fd}", std::process::id());
    run(
        &pod,
        &format!(
            "ip link set lo up && ip link add eth0 type veth peer name eth1 netns {there} && \
             ip link set eth0 up && ip addr add 10.7.0.2/24 dev eth0 && \
             ip addr add fd07::2/64 dev eth0 nodad"
        ),
    );
    run(
        &peer,
        "ip link set lo up && ip link set eth1 up && ip addr add 10.7.0.1/24 dev eth1 && \
         ip addr add fd07::1/64 dev eth1 nodad",
    );
    run(
        &pod,
        "ip route add default via 10.7.0.1 && ip -6 route add default via fd07::1",
    );
    apply(&pod, &RedirectPlan::new(backend), Instant::now() + PATIENCE).unwrap();
    (pod, peer)
}

/// Listens at a port of a namespace and answers every connection with the port.
fn answer_at(ns: &Netns, port: u16) {
    let listener = enter(ns, || TcpListener::bind(("::", port)).unwrap()).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            stream
                .unwrap()
                .write_all(port.to_string().as_bytes())
                .unwrap();
        }
    });
}

/// Connects from a namespace, with a mark on the socket, and says which port answered.
fn answered_by(ns: &Netns, mark: u32, to: &str) -> String {
    let to: SocketAddr = to.parse().unwrap();
    enter(ns, || {
        let family = if to.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&socket, sockopt::Mark, &mark).unwrap();
        let address = nix::sys::socket::SockaddrStorage::from(to);
        if let Err(error) =
            nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &address)
        {
            return error.to_string();
        }
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
    .unwrap()
}

#[test]
fn connections_reach_the_listeners_they_should() {
    for backend in [Backend::Nft, Backend::Legacy] {
        let (pod, peer) = pod_and_peer(backend);
        for port in [80, 15001, 15006, 15008] {
            answer_at(&pod, port);
        }
        answer_at(&peer, 80);
        // From where, with which mark, to where, answered by which port.
        let cases = [
            (&pod, 0, "10.7.0.1:80", "15001"),
            (&pod, 0, "[fd07::1]:80", "15001"),
            (&pod, 0, "192.0.2.9:443", "15001"),
            (&pod, 0, "10.7.0.1:15008", "15001"),
            (&pod, 0x1539, "10.7.0.1:80", "80"),
            (&pod, 0x539, "10.7.0.1:80", "80"),
            (&pod, 0x539, "[fd07::1]:80", "80"),
            (&pod, 0, "127.0.0.1:80", "80"),
            (&pod, 0, "[::1]:80", "80"),
            (&pod, 0, "10.7.0.2:80", "80"),
            (&pod, 0, "[fd07::2]:80", "80"),
            (&peer, 0, "10.7.0.2:80", "15006"),
            (&peer, 0, "[fd07::2]:80", "15006"),
            (&peer, 0, "10.7.0.2:15008", "15008"),
            (&peer, 0, "[fd07::2]:15008", "15008"),
        ];
        for (from, mark, to, expected) in cases {
            assert_eq!(
                answered_by(from, mark, to),
                expected,
                "{backend}: mark {mark:#x} to {to}"
            );
        }
    }
}

#[test]
fn probes_of_the_node_are_not_captured() {
    for backend in [Backend::Nft, Backend::Legacy] {
        let (pod, peer) = pod_and_peer(backend);
        for port in [80, 15006] {
            answer_at(&pod, port);
        }
        run(
            &peer,
            "ip addr flush dev eth1 && ip addr add 169.254.7.127/32 dev eth1 && \
             ip route add 10.7.0.2 dev eth1 && \
             ip addr add fd16:9254:7127:1337:ffff:ffff:ffff:ffff/128 dev eth1 nodad && \
             ip -6 route add fd07::2 dev eth1",
        );
        run(
            &pod,
            "ip route add 169.254.7.127 dev eth0 && \
             ip -6 route add fd16:9254:7127:1337:ffff:ffff:ffff:ffff dev eth0",
        );
        assert_eq!(answered_by(&peer, 0, "10.7.0.2:80"), "80", "{backend}");
        assert_eq!(answered_by(&peer, 0, "[fd07::2]:80"), "80", "{backend}");
    }
}

/// Checked by another eye than ours: that what we add and what we look for agree proves little.
#[test]
fn routes_are_as_the_ip_tool_sees_them() {
    let ns = Netns::create().unwrap();
    apply(
        &ns,
        &RedirectPlan::new(Backend::Nft),
        Instant::now() + PATIENCE,
    )
    .unwrap();
    let words = |line: &str| {
        let text = run(&ns, line);
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        words("ip route show table 100"),
        "local default dev lo scope host"
    );
    assert_eq!(
        words("ip -6 route show table 100"),
        "local default dev lo metric 1024 pref medium"
    );
    for rules in ["ip rule", "ip -6 rule"] {
        assert_eq!(
            words(&format!("{rules} show pref 32764")),
            "32764: from all fwmark 0x111/0xfff lookup 100"
        );
    }
    // Replies to a connection made in a foreign client's name come back to the tunnel.
    for (get, local) in [
        ("ip route get 192.0.2.1", "local 192.0.2.1 dev lo"),
        (
            "ip -6 route get 2001:db8::1",
            "local 2001:db8::1 from :: dev lo",
        ),
    ] {
        let found = words(&format!("{get} mark 0x111"));
        assert!(found.starts_with(local), "{found}");
    }
}
